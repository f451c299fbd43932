"""Families of networks, one a file: called with parameters each gives an ``Architecture``, or YAML to edit.

    ep.topologies.unet(depth=2)                  # an Architecture
    ep.topologies.unet.yaml(depth=2)             # the same as text, with comments
    ep.topologies.unet.parameters                # what it takes

To add a family: one file with a function under ``@Template``, and its name in ``TEMPLATES``.
"""

from typing import Any

from epgraph.topologies.all_to_all import all_to_all
from epgraph.topologies.chain import chain
from epgraph.topologies.densenet import densenet
from epgraph.topologies.hopfield_resnet import hopfield_resnet
from epgraph.topologies.ladder import ladder
from epgraph.topologies.random_dag import random_dag
from epgraph.topologies.ring import ring
from epgraph.topologies.scale_free import scale_free
from epgraph.topologies.small_world import small_world
from epgraph.topologies.template import Parameter, Template
from epgraph.topologies.unet import unet
from epgraph.topologies.vgg import vgg

_FAMILIES: tuple[Template[Any], ...] = (
    chain,
    vgg,
    hopfield_resnet,
    densenet,
    unet,
    ladder,
    ring,
    small_world,
    scale_free,
    random_dag,
    all_to_all,
)

TEMPLATES: dict[str, Template[Any]] = {template.name: template for template in _FAMILIES}
"""Every family by the name under which ``epgraph new`` knows it."""

__all__ = [
    "TEMPLATES",
    "Parameter",
    "Template",
    "all_to_all",
    "chain",
    "densenet",
    "hopfield_resnet",
    "ladder",
    "random_dag",
    "ring",
    "scale_free",
    "small_world",
    "unet",
    "vgg",
]
