"""The feed-forward network of ``examples/hopfield_resnet13.yaml`` as a person writes it in torch, and its step."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (128, 256, 512, 512)


class PlainResNet13(nn.Module):
    """Four blocks of two 3×3 convolutions and a 1×1 skip, and a dense head; nothing of epgraph is in it.

    Parameters
    ----------
    values
        Parameters by the names that an engine of the example gives them; they are copied.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in values.items():
            self.register_parameter(name.replace(".", "_"), nn.Parameter(value.detach().clone().contiguous()))

    def forward(self, x: Tensor) -> Tensor:
        """Scores (batch, 10) of images (batch, 3, 32, 32), in contiguous memory, in which torch is fastest on a CPU."""
        p = self._parameters
        before = "x"
        for i in range(1, len(WIDTHS) + 1):
            a, b = f"h{i}a", f"h{i}b"
            inner = F.conv2d(x, p[f"edges_{before}_{a}_weight"], p[f"states_{a}_bias"], padding=1)
            inner = F.relu6(inner, inplace=True)
            summed = F.conv2d(inner, p[f"edges_{a}_{b}_weight"], p[f"states_{b}_bias"], stride=2, padding=1)
            summed += F.conv2d(x, p[f"edges_{before}_{b}_weight"], stride=2)
            x, before = F.relu6(summed, inplace=True), b
        return F.linear(x.flatten(1), p[f"edges_{before}_y_weight"], p["states_y_bias"])

    def step(self, x: Tensor, y: Tensor) -> None:
        """Leave the gradient of the mean squared-error loss ½‖s − y‖² of labels y in every ``.grad``."""
        self.zero_grad(set_to_none=True)
        target = F.one_hot(y, 10).to(x.dtype)
        loss = 0.5 * (self(x) - target).square().sum() / len(x)
        loss.backward()

    def gradients(self) -> dict[str, Tensor]:
        """Gradients by the names of the engine's parameters."""
        found = {}
        for name, parameter in self.named_parameters():
            head, _, rest = name.partition("_")
            body, _, tail = rest.rpartition("_")
            assert parameter.grad is not None
            found[f"{head}.{body}.{tail}"] = parameter.grad
        return found
