"""Attention with gradients on the CPU in bfloat16, a few heads at a time: their weights stay in the cache.

PyTorch's fused kernel spends two thirds of a training step there, most of it backwards (``benchmarks/identify_step.py``).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 8
"""Heads at a time."""


def chunked_attention(
    q: Float[Tensor, "b h t w"], k: Float[Tensor, "b h s w"], v: Float[Tensor, "b h s w"], *, causal: bool
) -> Float[Tensor, "b h t w"]:
    """Return softmax(q k^T / sqrt(w)) v; the scores and their exponentials are float32, the weights of the type of q.

    ``causal``: a query sees the keys up to its own position; there are as many of both.
    """
    heads = (x.flatten(0, 1).contiguous() for x in (q, k, v))
    return ChunkedAttention.apply(*heads, causal).unflatten(0, q.shape[:2])  # pyright: ignore[reportAttributeAccessIssue]


class ChunkedAttention(torch.autograd.Function):
    """The same over one dimension of heads.

    With P the weights, O the result, g its gradient, and D = P * (g V^T - sum(g * O)):

        dQ = D K / sqrt(w),    dK = D^T Q / sqrt(w),    dV = P^T g.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """Return the result; the weights are kept."""
        scale, weights = q.shape[-1] ** -0.5, []
        later = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).triu(1) if causal else None
        out = torch.empty_like(q)
        with torch.autocast("cpu", enabled=False):
            for part in _chunks(len(q)):
                scores = (q[part].float() * scale) @ k[part].float().mT
                if later is not None:
                    scores.masked_fill_(later, -torch.inf)
                weights.append(scores.softmax(-1).to(q.dtype))
                out[part] = weights[-1] @ v[part]
        ctx.save_for_backward(q, k, v, out, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients."""
        q, k, v, out, *weights = ctx.saved_tensors
        scale = q.shape[-1] ** -0.5
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        mean = (grad.float() * out.float()).sum(-1, keepdim=True).to(q.dtype)
        with torch.autocast("cpu", enabled=False):
            for part, weight in zip(_chunks(len(q)), weights, strict=True):
                of_v[part] = weight.mT @ grad[part]
                of_scores = (grad[part] @ v[part].mT).sub_(mean[part]).mul_(weight)
                of_q[part] = (of_scores @ k[part]).mul_(scale)
                of_k[part] = (of_scores.mT @ q[part]).mul_(scale)
        return of_q, of_k, of_v, None


def _chunks(count: int) -> list[slice]:
    return [slice(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
