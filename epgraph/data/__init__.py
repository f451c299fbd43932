"""Data sets by name, each with the augmentation of the published results."""

from epgraph.data.sets import DATA_SETS, Data, load_data

__all__ = ["DATA_SETS", "Data", "load_data"]
