"""The filter and the smoother as two differentiable operations, each with its adjoint written out.

A tape over thousands of small matrices costs more than the arithmetic; here the backward pass is one more sweep. The
covariances Q, R and P0 are taken as symmetric, so their gradients are symmetric. First derivatives only.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynarium.ssm import sequences

Method = Literal["auto", "loop", "scan"]


def resolve(method: Method, like: Tensor) -> str:
    """Return the method that ``auto`` stands for: the scan on accelerators, where a step costs a launch.

    Raises:
        ValueError: The method is unknown.
    """
    if method == "auto":
        return "loop" if like.device.type == "cpu" else "scan"
    if method not in ("loop", "scan"):
        raise ValueError(f"method: 'auto', 'loop' or 'scan' wanted, got {method!r}")
    return method


def time_major(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Swap the first two dimensions; the result is contiguous."""
    return tuple(x.transpose(0, 1).contiguous() for x in tensors)


class FilterOperation(torch.autograd.Function):
    """``(A, C, Q, R, y, push, m0, P0)`` to ``(m, P, m_predicted, P_predicted, log_likelihood)``; batch first."""

    @staticmethod
    def forward(ctx: Any, method: str, seen: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        *sequence, m0, P0 = inputs
        A, C, Q, R, y, push, seen = time_major(*sequence, seen)
        scan = method == "scan"
        m, P, mp, Pp, ll = sequences.filter_forward(A, C, Q, R, y, push, m0, P0, seen, scan)
        ctx.scan = scan
        ctx.save_for_backward(A, C, Q, R, y, seen, m, P, mp, Pp)
        return tuple(x.transpose(0, 1) for x in (m, P, mp, Pp, ll))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        saved = ctx.saved_tensors
        *grads, gm0, gP0 = sequences.filter_backward(saved[:6], saved[6:], time_major(*cotangents), ctx.scan)
        return None, None, *(x.transpose(0, 1) for x in grads), gm0, gP0


class SmootherOperation(torch.autograd.Function):
    """``(A, Q, m, P, m_predicted, P_predicted)`` to ``(m, P, cross covariances)``; batch first."""

    @staticmethod
    def forward(ctx: Any, method: str, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        A, Q, m, P, mp, Pp = time_major(*inputs)
        ctx.scan = method == "scan"
        ms, Ps, cross, G = sequences.smoother_forward(A, Q, m, P, mp, Pp, ctx.scan)
        ctx.save_for_backward(A, Q, P, mp, Pp, ms, Ps, G)
        return tuple(x.transpose(0, 1) for x in (ms, Ps, cross))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:  # noqa: D102
        saved = ctx.saved_tensors
        grads = sequences.smoother_backward(saved[:5], saved[5:], time_major(*cotangents), ctx.scan)
        return None, *(x.transpose(0, 1) for x in grads)
