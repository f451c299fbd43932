"""The sweep loop and what every phase needs: states, parameters, nudges, arguments, memory."""
