"""The gallery: every family of networks, drawn. ``make gallery`` writes ``docs/gallery.md`` and its pictures."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import epgraph as ep
from epgraph.topologies import TEMPLATES

HERE = Path(__file__).parent

PICTURES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("chain", "chain", {}),
    ("residual_chain", "residual_chain", {"depth": 4}),
    ("vgg5", "vgg", {"input": (3, 32, 32), "widths": (128, 256, 512, 512)}),
    ("hopfield_resnet13", "hopfield_resnet", {"depth": 13, "width": 128, "input": (3, 32, 32)}),
    ("hopfield_resnet25", "hopfield_resnet", {"depth": 25, "width": 64, "input": (3, 32, 32)}),
    ("densenet", "densenet", {}),
    ("unet", "unet", {"depth": 2}),
    ("unet_images", "unet", {"depth": 3, "input": (3, 32, 32), "targets": (1, 32, 32)}),
    ("ladder", "ladder", {"rungs": 4}),
    ("ring", "ring", {"states": 8}),
    ("small_world", "small_world", {"states": 10, "seed": 1}),
    ("scale_free", "scale_free", {"states": 10, "seed": 1}),
    ("random_dag", "random_dag", {"states": 8, "density": 0.3, "seed": 1}),
    ("random_dag_dense", "random_dag", {"states": 8, "density": 0.7, "seed": 1}),
    ("all_to_all", "all_to_all", {}),
    ("mlp", "chain", {"depth": 3, "width": 256, "input": (784,)}),
)
"""Name of the picture, template, parameters."""


def markdown() -> str:
    """Return the page."""
    lines = [
        "# Gallery",
        "",
        "Every network here is one command, which writes a file to edit; `epgraph new --list` has all parameters.",
        "Where the input is 1×8×8, `epgraph train net.yaml --data digits` trains it as it is. `make gallery` writes",
        "this page.",
        "",
    ]
    for picture, name, parameters in PICTURES:
        template = TEMPLATES[name]
        graph = ep.build(template(**parameters))
        size = f"{len(graph.free)} states that move, {len(graph.edges)} edges, {graph.parameters():,} parameters."
        lines += [
            f"## {graph.architecture.name}",
            "",
            *textwrap.wrap(f"{template.description} {size}", 120),
            "",
            "```sh",
            f"{template.command(**parameters)} -o net.yaml",
            "```",
            "",
            f"![{graph.architecture.name}](gallery/{picture}.svg)",
            "",
        ]
    return "\n".join(lines)


FIGURES: tuple[tuple[str, Any], ...] = (
    ("hopfield_resnet13", HERE.parent / "examples" / "hopfield_resnet13.yaml"),
    ("hopfield_resnet103", TEMPLATES["hopfield_resnet"](depth=103, input=(3, 32, 32))),
)
"""Pictures of other pages: name and network."""


def main() -> None:
    """Write page and pictures."""
    for figure, source in FIGURES:
        ep.render(source, HERE / f"{figure}.svg")
    for picture, name, parameters in PICTURES:
        ep.render(TEMPLATES[name](**parameters), HERE / "gallery" / f"{picture}.svg")
    (HERE / "gallery.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
