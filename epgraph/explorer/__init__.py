"""The explorer: a network, and a run of it, as one HTML file to look into. Importing it loads no torch."""

from epgraph.explorer.network import describe
from epgraph.explorer.page import page

__all__ = ["describe", "page"]
