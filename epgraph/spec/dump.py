"""``Architecture`` → YAML text that loads back to the same architecture."""

from __future__ import annotations

import yaml

from epgraph.spec.architecture import Architecture
from epgraph.spec.document import plain_scalar


class _Dumper(yaml.SafeDumper):
    """PyYAML writes for YAML 1.1; text that YAML 1.2 reads as something else needs quotes too."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = None if isinstance(plain_scalar(value), str) else "'"
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(architecture: Architecture) -> str:
    """Write an architecture as YAML; values that equal the language's defaults are left out."""
    return yaml.dump(
        architecture.to_dict(),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=110,
    )
