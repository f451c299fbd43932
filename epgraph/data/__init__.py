"""Data sets by name, each prepared as in the published results."""

from epgraph.data.registry import DATA_SETS, register_dataset
from epgraph.data.sets import Data, data_set_names, load_data

__all__ = ["DATA_SETS", "Data", "data_set_names", "load_data", "register_dataset"]
