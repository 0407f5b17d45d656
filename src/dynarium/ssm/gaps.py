"""Irregular gaps between measurements: transitions over k steps at once."""

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from dynarium.errors import UserError
from dynarium.ssm.model import LinearGaussian


def with_gaps(model: LinearGaussian, gaps: Int[Tensor, "*b t"]) -> LinearGaussian:
    """Return the model of sequences measured at irregular times: entry t of ``gaps`` is the number of steps into step t.

        A^(k) = A^k,    Q^(k) = sum_{i<k} A^i Q A'^i,    B^(k) = sum_{i<k} A^i B    (a control is held over its gap)

    by doubling (van Loan 1978 for constant A): log2(max k) rounds for all sequences and steps together. The same as k - 1
    masked steps in between, at the cost of one. A gap of 0 is a second measurement of the same moment.

    Args:
        model: A model whose A, Q and B do not vary over steps.
        gaps: Steps into each entry, ``[t]`` or ``[b, t]``; the first entry is not used.

    Raises:
        UserError: A gap is negative, or the transition varies over steps.
    """
    for name in ("A", "Q", "B"):
        matrix = getattr(model, name)
        if matrix is not None and matrix.ndim > 2 and matrix.shape[-3] != 1:
            raise UserError(f"{name}: the same at every step wanted where gaps differ, got {tuple(matrix.shape)}")
    if bool((gaps < 0).any()):
        raise UserError(f"gaps: 0 or more steps wanted, got {int(gaps.min())}")
    n = model.A.shape[-1]
    A, Q = model.A, model.Q
    B = model.A.new_zeros(n, 1) if model.B is None else model.B
    whole = torch.eye(n, dtype=A.dtype, device=A.device).expand(*gaps.shape, n, n)
    noise, push = torch.zeros_like(whole), B.new_zeros(*gaps.shape, n, B.shape[-1])
    left = gaps
    while bool((left > 0).any()):
        odd = (left % 2 == 1)[..., None, None]
        noise = torch.where(odd, A @ noise @ A.mT + Q, noise)
        push = torch.where(odd, A @ push + B, push)
        whole = torch.where(odd, A @ whole, whole)
        Q, B, A = A @ Q @ A.mT + Q, A @ B + B, A @ A
        left = left // 2
    return replace(model, A=whole, Q=noise, B=None if model.B is None else push)
