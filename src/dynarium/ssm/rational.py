"""What rational transfer functions answer: many recursions at once, compiled; and what regressions on their signals need."""

import functools

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dynarium.ssm.tiles import tile

WIDEST = 1e6
"""An answer of an unstable system is cut off at this size."""

_compiled = functools.cache(tile)


def all_pole(x: Float[Tensor, "r t q"], a: Float[Tensor, "r n"]) -> Float[Tensor, "r t q"]:
    """Return y_t = x_t + sum_k a_k y_(t-k) from rest, for q signals of each row; computed on the CPU in float64."""
    out = torch.empty(x.shape, dtype=torch.float64)
    parts = [part.detach().cpu().double().contiguous().numpy() for part in (x, a)]
    _compiled(_sweep)(*parts, out.numpy())
    return out.to(x)


def _sweep(x, a, out):
    for r in range(x.shape[0]):
        for t in range(x.shape[1]):
            for q in range(x.shape[2]):
                out[r, t, q] = x[r, t, q]
            for k in range(min(t, a.shape[1])):
                for q in range(x.shape[2]):
                    out[r, t, q] += a[r, k] * out[r, t - 1 - k, q]


def lags(x: Float[Tensor, "b t a"], first: int, last: int) -> Float[Tensor, "b t a m"]:
    """Return x_(t-first) .. x_(t-last) at every step, 0 before the first one."""
    return F.pad(x.mT, (last, 0)).unfold(2, last + 1, 1).flip(3)[..., first:].transpose(1, 2)


def impulse(x: Float[Tensor, "b t a"]) -> Float[Tensor, "b t 1"]:
    """Return the signal that is 1 at the first step and 0 later: what an initial state answers to."""
    first = torch.zeros_like(x[..., :1])
    first[:, 0] = 1
    return first


def bounded(x: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return answers no larger than ``WIDEST``, whatever an unstable system gave."""
    return x.nan_to_num(WIDEST, WIDEST, -WIDEST).clamp(-WIDEST, WIDEST)


def solution(gram: Float[Tensor, "r k k"], right: Float[Tensor, "r k 1"]) -> Float[Tensor, "r k"]:
    """Return the solutions of normal equations; 0 in rows whose matrix is not positive definite."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    definite = failed == 0
    safe = torch.where(definite[:, None, None], factor, torch.eye(gram.shape[1]).to(gram))
    return torch.where(definite[:, None], torch.cholesky_solve(right, safe)[..., 0], 0)
