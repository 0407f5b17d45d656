"""Two recursions over time that exact inference is made of, each step by step or as a parallel scan of logarithmic depth.

Everything here is time-major, ``[t, b, ...]``: a step is then one contiguous block. No gradients: see ``adjoint.py``.
"""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Element = tuple[Tensor, ...]


def associative_scan(combine: Callable[[Element, Element], Element], elements: Element) -> Element:
    """Return all prefixes ``e_1 * .. * e_t`` of an associative operation, in 2 log2(T) rounds of batched work.

    Odd-even recursion (Blelloch 1990): combine neighbours, scan the half, fill in between. ``combine(earlier, later)``.
    """
    t = elements[0].shape[0]
    if t == 1:
        return elements
    pairs = combine(tuple(e[: t - 1 : 2] for e in elements), tuple(e[1::2] for e in elements))
    odd = associative_scan(combine, pairs)
    between = combine(tuple(e[: (t - 1) // 2] for e in odd), tuple(e[2::2] for e in elements))
    scanned = []
    for first, at_odd, at_even in zip(elements, odd, between, strict=True):
        out = torch.empty_like(first)
        out[0], out[1::2], out[2::2] = first[0], at_odd, at_even
        scanned.append(out)
    return tuple(scanned)


def propagate_mean(
    F: Float[Tensor, "t b n n"], g: Float[Tensor, "t b n"], *, scan: bool, reverse: bool = False
) -> Float[Tensor, "t b n"]:
    """Return ``x_t = F_t x_{t-1} + g_t`` from ``x_1 = g_1``; ``reverse``: ``x_t = F_t x_{t+1} + g_t`` from the last step.

    The F of the step that starts is not used.
    """

    def combine(earlier: Element, later: Element) -> Element:
        (F1, g1), (F2, g2) = earlier, later
        return F2 @ F1, F2 @ g1 + g2

    def step(x: Tensor, F_now: Tensor, before: Tensor) -> None:
        x.baddbmm_(F_now, before)

    return _run(F, g[..., None], combine, step, scan, reverse).squeeze(-1)


def propagate_cov(
    F: Float[Tensor, "t b n n"], W: Float[Tensor, "t b n n"], *, scan: bool, reverse: bool = False
) -> Float[Tensor, "t b n n"]:
    """Return ``X_t = F_t X_{t-1} F_t' + W_t`` from ``X_1 = W_1``; ``reverse`` as in ``propagate_mean``."""

    def combine(earlier: Element, later: Element) -> Element:
        (F1, W1), (F2, W2) = earlier, later
        return F2 @ F1, F2 @ W1 @ F2.mT + W2

    def step(X: Tensor, F_now: Tensor, before: Tensor) -> None:
        X.baddbmm_(torch.bmm(F_now, before), F_now.mT)

    return _run(F, W, combine, step, scan, reverse)


def _run(
    F: Tensor,
    start: Tensor,
    combine: Callable[[Element, Element], Element],
    step: Callable[[Tensor, Tensor, Tensor], None],
    scan: bool,
    reverse: bool,
) -> Tensor:
    if scan:
        elements = (F.flip(0), start.flip(0)) if reverse else (F, start)
        x = associative_scan(combine, elements)[1]
        return x.flip(0) if reverse else x
    x = start.clone(memory_format=torch.contiguous_format)
    steps = list(zip(x.unbind(0), F.unbind(0), strict=True))
    steps = steps[::-1] if reverse else steps
    for (before, _), (now, F_now) in itertools.pairwise(steps):
        step(now, F_now, before)
    return x


def scan_riccati(
    A: Float[Tensor, "t b n n"],
    Q: Float[Tensor, "t b n n"],
    H: Float[Tensor, "t b n n"],
    Z: Float[Tensor, "t b n n"],
    P1: Float[Tensor, "b n n"],
) -> Float[Tensor, "t b n n"]:
    """Return the filtered covariances by a parallel scan (Sarkka & Garcia-Fernandez 2021, eqs. 10 to 14).

    The element of step t is the map from P_{t-1} to P_t, ``(F, P, I)``: transition, covariance and information

        F = J A,   P = J Q,   I = A' C' S^-1 C A    with  S = C Q C' + R,  J = I - Q C' S^-1 C

    and two of them combine to ``F2 M F1``, ``F2 M P1 F2' + P2``, ``F1' I2 M F1 + I1``, where ``M = (I + P1 I2)^-1``.

    Args:
        A: Transitions; the first is not used.
        Q: Transition noise; the first is not used.
        H: ``I - Q C' S^-1 C`` of every step.
        Z: ``C' S^-1 C`` of every step.
        P1: Filtered covariance of the first step.
    """
    F, P, info = H @ A, H @ Q, A.mT @ Z @ A
    F[0], P[0], info[0] = 0.0, P1, 0.0
    return associative_scan(_combine_filters, (F, P, info))[1]


def _combine_filters(earlier: Element, later: Element) -> Element:
    (F1, P1, I1), (F2, P2, I2) = earlier, later
    eye = torch.eye(F1.shape[-1], dtype=F1.dtype, device=F1.device)
    M = torch.linalg.solve(eye + P1 @ I2, torch.cat([F1, P1], -1))
    MF1, MP1 = M.split(F1.shape[-1], -1)
    P, info = F2 @ MP1 @ F2.mT + P2, F1.mT @ I2 @ MF1 + I1
    return F2 @ MF1, 0.5 * (P + P.mT), 0.5 * (info + info.mT)
