"""A stand-in for Lightning: the few methods that docs/howto/lightning.md uses, where Lightning is not installed.

It shows that the module of that page drives an engine in the right order. That real Lightning calls it in this way was
checked by hand; the page says with which version.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch.utils.data import DataLoader


class LightningModule(torch.nn.Module):
    automatic_optimization = True

    def log(self, name: str, value: Any) -> None:
        self.trainer.callback_metrics[name] = torch.as_tensor(value)

    def optimizers(self) -> torch.optim.Optimizer:
        return self.trainer.optimizer

    def clip_gradients(
        self, optimizer: torch.optim.Optimizer, gradient_clip_val: float, gradient_clip_algorithm: str
    ) -> None:
        assert gradient_clip_algorithm == "norm"
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, gradient_clip_val)


class Trainer:
    def __init__(self, max_epochs: int, **_options: Any) -> None:
        self.max_epochs = max_epochs
        self.callback_metrics: dict[str, torch.Tensor] = {}

    def fit(self, module: Any, train: DataLoader[Any], validation: DataLoader[Any]) -> None:
        assert not module.automatic_optimization, "the stand-in has manual optimization alone"
        module.trainer = self
        self.optimizer = module.configure_optimizers()
        for _ in range(self.max_epochs):
            for index, batch in enumerate(train):
                module.training_step(batch, index)
            with torch.inference_mode():
                for index, batch in enumerate(validation):
                    module.validation_step(batch, index)


def stand_in() -> ModuleType:
    """Return a module to import as ``lightning``."""
    module = ModuleType("lightning")
    module.LightningModule, module.Trainer = LightningModule, Trainer  # type: ignore[attr-defined]
    return module
