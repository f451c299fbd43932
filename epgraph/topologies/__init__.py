"""Templates: families of networks, one per file. A call returns an ``Architecture``, ``yaml`` returns text to edit.

    ep.topologies.unet(depth=2)                  # an Architecture
    ep.topologies.unet.yaml(depth=2)             # the same as text, with comments
    ep.topologies.unet.parameters                # its parameters

To add a family, write one file with a function under ``@Template`` and add it to ``_FAMILIES``.
"""

from typing import Any

from epgraph.topologies.all_to_all import all_to_all
from epgraph.topologies.chain import chain
from epgraph.topologies.densenet import densenet
from epgraph.topologies.hopfield_resnet import hopfield_resnet
from epgraph.topologies.ladder import ladder
from epgraph.topologies.random_dag import random_dag
from epgraph.topologies.residual_chain import residual_chain
from epgraph.topologies.ring import ring
from epgraph.topologies.scale_free import scale_free
from epgraph.topologies.small_world import small_world
from epgraph.topologies.template import Parameter, Template
from epgraph.topologies.unet import unet
from epgraph.topologies.vgg import vgg

_FAMILIES: tuple[Template[Any], ...] = (
    chain,
    residual_chain,
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
"""Every template by its name in ``epgraph new --template``."""

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
    "residual_chain",
    "ring",
    "scale_free",
    "small_world",
    "unet",
    "vgg",
]
