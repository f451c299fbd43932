"""``python -m epgraph``: the command line, where the script ``epgraph`` is not on the path."""

from epgraph.cli import main

if __name__ == "__main__":
    main()
