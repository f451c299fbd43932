"""What several test modules share: networks, oracles, runs, pictures. Nothing here is collected by pytest."""
