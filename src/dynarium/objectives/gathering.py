"""The whole batch on every process, with gradients: for losses over the statistics of a batch."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor


def whole_batch(x: Float[Tensor, "b *rest"]) -> Float[Tensor, "e *rest"]:
    """Return the samples of all processes, in the order of their ranks; ``x`` itself where there is one process.

    Without gradients it is ``x`` itself, too: validation deals whole batches to the processes, and not equally many to all.

    Every process has to hold the same number of samples. Where each then computes the same loss L of the whole batch, the
    gradient that reaches the local samples is summed over the processes, and the mean of the parameters' gradients that
    data-parallel training takes is exactly the gradient of L in one process with the whole batch.
    """
    alone = not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1
    if alone or not torch.is_grad_enabled():
        return x
    return _Gather.apply(x)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        ctx.size = len(x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.size
        return gradient[first : first + ctx.size]
