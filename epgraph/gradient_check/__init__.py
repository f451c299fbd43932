"""``epgraph gradcheck``: the gradient of EP beside exact ones, the signal at every state, and a verdict."""
