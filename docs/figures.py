"""The diagrams of README and docs that are not in the gallery. ``make figures`` writes them."""

from __future__ import annotations

import re
from pathlib import Path

import epgraph as ep

HERE = Path(__file__).parent


def main() -> None:
    """Draw the network of README, and the first network of the tutorial, from its page."""
    ep.render(HERE.parent / "examples" / "hopfield_resnet13.yaml", HERE / "hopfield_resnet13.svg")
    page = (HERE / "tutorial.md").read_text(encoding="utf-8")
    found = re.search(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    assert found
    ep.render(found[1], HERE / "tutorial" / "net.svg")


if __name__ == "__main__":
    main()
