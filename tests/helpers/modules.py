"""Feed-forward networks of files, written by hand: what ``backprop`` is compared with."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Module(nn.Module):
    """The feed-forward network of a file, written down by hand from its plain values."""

    def __init__(self, data: dict[str, Any], values: dict[str, Tensor]) -> None:
        super().__init__()
        self.data = data
        self.values = {name: value.detach().clone().requires_grad_() for name, value in values.items()}

    def forward(self, x: Tensor) -> Tensor:
        """The output, by recursion over the edges into a state."""
        seen = {"x": x}
        for name in [*self.data["states"], "y"]:  # these tests declare states in an order that the edges follow
            summed: Any = 0.0
            for edge in (edge for edge in self.data["edges"] if edge["to"] == name):
                summed = summed + self.mapped(edge, seen[edge["from"]])
            bias = self.values.get(f"states.{name}.bias")
            if bias is not None:
                summed = summed + (bias if summed.ndim == 2 else bias[None, :, None, None])
            seen[name] = self.active(name, summed)
        self.seen = seen
        return seen["y"]

    def mapped(self, edge: dict[str, Any], s: Tensor) -> Tensor:
        """A_e s."""
        weight = self.values.get(f"edges.{edge.get('tie', edge['name'])}.weight")
        if "dense" in edge:
            assert weight is not None
            return F.linear(s.flatten(1), weight)
        if "identity" in edge:
            return s * edge["identity"].get("scale", 1.0)
        options = dict(edge.get("conv") or edge["skip"])
        pool = options.pop("pool", None)
        options.pop("kernel", None)
        z = F.conv2d(s, weight, **options)  # type: ignore[arg-type]
        if pool == "max":
            blocks = z.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
            return blocks.gather(4, blocks.argmax(4, keepdim=True))[..., 0]
        return z.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5)) if pool == "average" else z

    def active(self, name: str, a: Tensor) -> Tensor:
        """σ(a), from its definition; torch's masks have no gradient at a kink."""
        kind = self.data["states"][name]["activation"] if name != "y" else self.data["output"].get("activation")
        if kind in (None, "identity"):
            return a
        if kind == "tanh":
            return a.exp().sub((-a).exp()) / (a.exp() + (-a).exp())
        if kind == "logistic":
            return 1 / (1 + (-a).exp())
        level: Any = self.values.get(f"states.{name}.alpha")
        level = float(kind.removeprefix("relu")) if level is None else level
        return torch.where(a >= level, level, torch.where(a > 0, a, torch.zeros_like(a)))
