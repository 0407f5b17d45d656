"""The filter and the smoother as two differentiable operations, each with its adjoint written out.

A tape over thousands of small matrices costs more than the arithmetic; here the backward pass is one more sweep. The
covariances Q, R and P0 are taken as symmetric, so their gradients are symmetric. First derivatives only.
"""

import functools
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynarium.errors import UserError
from dynarium.ssm import sequences

Method = Literal["auto", "fused", "loop", "scan"]


def resolve(method: Method, *inputs: Tensor) -> str:
    """Return the method that ``auto`` stands for: on the CPU the fused one, elsewhere the scan.

    Raises:
        UserError: The method is unknown, or cannot run here.
    """
    on_cpu = all(x.device.type == "cpu" for x in inputs)
    real = {x.dtype for x in inputs} in ({torch.float32}, {torch.float64})
    if method == "auto":
        return ("fused" if real else "loop") if on_cpu else "scan"
    if method not in ("fused", "loop", "scan"):
        raise UserError(f"method: 'auto', 'fused', 'loop' or 'scan' wanted, got {method!r}")
    if method == "fused" and not (on_cpu and real):
        raise UserError("method: 'fused' runs on the CPU, in one of float32 and float64; use 'loop' or 'scan'")
    return method


def time_major(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Swap the first two dimensions; the result is contiguous."""
    return tuple(x.transpose(0, 1).contiguous() for x in tensors)


def _in_full_precision(sweep: Any) -> Any:
    """Run a sweep outside autocast: small matrices want the precision that they came with."""

    @functools.wraps(sweep)
    def run(ctx: Any, *inputs: Any) -> Any:
        device = next(x.device.type for x in inputs if isinstance(x, Tensor))
        with torch.autocast(device, enabled=False):
            return sweep(ctx, *inputs)

    return run


class FilterOperation(torch.autograd.Function):
    """``(A, C, Q, R, y, push, m0, P0)`` to ``(m, P, m_predicted, P_predicted, log_likelihood)``; batch first."""

    @staticmethod
    @_in_full_precision
    def forward(ctx: Any, method: str, seen: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        A, C, Q, R, y, push, m0, P0 = inputs
        if method == "fused":
            outputs = _fused().filter_forward(*inputs, seen)
        else:
            a, c, q, r, z, v, here = time_major(A, C, Q, R, y, push, seen)
            outputs = sequences.filter_forward(a, c, q, r, z, v, m0, P0, here, method == "scan")
            outputs = tuple(x.transpose(0, 1) for x in outputs)
        ctx.method = method
        ctx.save_for_backward(A, C, Q, R, y, seen, *outputs[:4])
        return outputs

    @staticmethod
    @once_differentiable
    @_in_full_precision
    def backward(  # noqa: D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if ctx.method == "fused":
            return None, None, *_fused().filter_backward(saved[:6], saved[6:], cotangents)
        saved, scan = time_major(*saved), ctx.method == "scan"
        *grads, gm0, gP0 = sequences.filter_backward(saved[:6], saved[6:], time_major(*cotangents), scan)
        return None, None, *(x.transpose(0, 1) for x in grads), gm0, gP0


class SmootherOperation(torch.autograd.Function):
    """``(A, Q, m, P, m_predicted, P_predicted)`` to ``(m, P, cross covariances)``; batch first."""

    @staticmethod
    @_in_full_precision
    def forward(ctx: Any, method: str, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        A, Q, _, P, mp, Pp = inputs
        if method == "fused":
            *outputs, G = _fused().smoother_forward(*inputs)
        else:
            a, q, m, p, before, spread = time_major(*inputs)
            outputs = sequences.smoother_forward(a, q, m, p, before, spread, method == "scan")
            *outputs, G = (x.transpose(0, 1) for x in outputs)
        ctx.method = method
        ctx.save_for_backward(A, Q, P, mp, Pp, *outputs[:2], G)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    @_in_full_precision
    def backward(  # noqa: D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        if ctx.method == "fused":
            return None, *_fused().smoother_backward(saved[:5], saved[5:], cotangents)
        saved, scan = time_major(*saved), ctx.method == "scan"
        grads = sequences.smoother_backward(saved[:5], saved[5:], time_major(*cotangents), scan)
        return None, *(x.transpose(0, 1) for x in grads)


def _fused() -> ModuleType:
    from dynarium.ssm import fused  # Numba takes most of a second to import

    return fused
