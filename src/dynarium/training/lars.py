"""Layer-wise adaptive rate scaling (LARS: You, Gitman & Ginsburg 2017, arXiv:1708.03888), as self-supervision uses it."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class LARS(torch.optim.Optimizer):
    """Momentum on gradients that are scaled, weight by weight tensor, to the size of the weights.

        g <- g + weight_decay * w,   g <- trust * |w| / |g| * g,   m <- momentum * m + g,   w <- w - lr * m

    The scaling is left out where one of the norms is zero. Biases and the gains of normalisations (tensors of one
    dimension) are neither decayed nor scaled. The customary rate is a base rate times batch size / 256, after a warm-up.

    Args:
        params: Parameters to optimise.
        lr: Learning rate.
        weight_decay: Weight decay.
        momentum: Decay of the running sum of steps.
        trust: Size of a step relative to the weights (eta in the paper).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1.0,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        trust: float = 1e-3,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "trust": trust})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Take one step; the closure, if given, is called first and its value returned."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                step = p.grad
                if p.ndim > 1:
                    step = step.add(p, alpha=group["weight_decay"])
                    size, length = p.norm(), step.norm()
                    ratio = group["trust"] * size / length
                    step = step * torch.where((size > 0) & (length > 0), ratio, 1.0)
                state = self.state[p]
                if "momentum" not in state:
                    state["momentum"] = torch.zeros_like(p)
                state["momentum"].mul_(group["momentum"]).add_(step)
                p.add_(state["momentum"], alpha=-group["lr"])
        return value
