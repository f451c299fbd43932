"""Sweeps: many runs of one network or several, shared by processes, that survive their death. Loads no torch."""
