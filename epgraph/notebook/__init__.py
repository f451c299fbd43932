"""What notebooks show of networks, engines, relaxations and runs, one file for each; ``epgraph.display`` asks for it.

Everything here takes well under a second: what would take longer, such as the diagram of a large network, is a table.
"""
