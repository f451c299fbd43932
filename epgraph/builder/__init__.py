"""Networks from Python and from networkx: the same ``Architecture`` objects that ``load`` reads from YAML."""

from epgraph.builder.convert import from_networkx, to_networkx
from epgraph.builder.network import Network, StateReference

__all__ = ["Network", "StateReference", "from_networkx", "to_networkx"]
