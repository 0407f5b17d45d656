"""Batched integrators of ordinary differential equations: many sequences at once, each with its own step size.

``integrate`` is the truth: an adaptive method of order 8. ``symplectic`` and the implicit midpoint rule take fixed steps
and keep the energy of a Hamiltonian system bounded for ever.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError

RightHandSide = Callable[[Float[Tensor, "b n"], Float[Tensor, " b"]], Float[Tensor, "b n"]]
"""dx/dt at the states x and times t."""

# Step control of Hairer, Norsett & Wanner 1993, section II.4.
_SAFETY = 0.8
_SHRINK, _GROW = 0.2, 10.0
_MOST_STEPS = 100_000
_MOST_ITERATIONS = 50


def integrate(
    rhs: RightHandSide,
    x0: Float[Tensor, "b n"],
    times: Float[Tensor, " t"],
    *,
    rtol: float = 1e-9,
    atol: float = 1e-9,
    method: Literal["adaptive", "midpoint"] = "adaptive",
    substeps: int = 10,
) -> Float[Tensor, "b t n"]:
    """Solve dx/dt = rhs(x, t) for a batch of initial states.

    ``adaptive`` is the Runge-Kutta pair of Dormand and Prince of order 8(5,3) with its dense output of order 7 (Hairer,
    Norsett & Wanner 1993, section II.5). Every sequence has its own time, step size and error control, so that none
    depends on its neighbours. ``midpoint`` is the implicit midpoint rule composed to order 4 (Yoshida 1990), which is
    symplectic whether or not the Hamiltonian is separable.

    Args:
        rhs: The right-hand side; it is called with all sequences at once, each at its own time.
        x0: States at ``times[0]``.
        times: Times of the states to return, increasing.
        rtol: Tolerated error of a step relative to the state (``adaptive``).
        atol: Tolerated absolute error of a step (``adaptive``).
        method: ``adaptive`` or ``midpoint``.
        substeps: Steps between two times (``midpoint``).

    Raises:
        UserError: Times that do not increase, or an equation that no step size solves.
    """
    if not bool((times.diff() > 0).all()):
        raise UserError("times: expected increasing numbers")
    if method == "midpoint":
        return _midpoint(rhs, x0, times, substeps)

    def arrays(x: np.ndarray, t: np.ndarray) -> np.ndarray:
        return rhs(torch.from_numpy(x).to(x0.device), torch.from_numpy(t).to(x0.device)).cpu().numpy()

    states = integrate_arrays(arrays, x0.cpu().numpy(), times.cpu().numpy(), rtol=rtol, atol=atol)
    return torch.from_numpy(states).to(x0.device)


def symplectic(
    velocity: Callable[[Tensor], Tensor],
    force: Callable[[Tensor], Tensor],
    q0: Float[Tensor, "b n"],
    p0: Float[Tensor, "b n"],
    times: Float[Tensor, " t"],
    *,
    substeps: int = 10,
    order: Literal[2, 4] = 4,
) -> tuple[Float[Tensor, "b t n"], Float[Tensor, "b t n"]]:
    """Integrate a separable Hamiltonian H(q, p) = T(p) + V(q) by leapfrog, or by its composition of order 4.

    Leapfrog kicks, drifts and kicks: p += h/2 F(q), q += h dT/dp, p += h/2 F(q). Three leapfrogs of lengths
    (w, 1 - 2 w, w) h with w = 1 / (2 - 2^(1/3)) are of order 4 (Yoshida 1990, eq. 4.4).

    Args:
        velocity: dT/dp as a function of p.
        force: -dV/dq as a function of q.
        q0: Positions at ``times[0]``.
        p0: Momenta at ``times[0]``.
        times: Times of the states to return, increasing.
        substeps: Steps between two times.
        order: 2 for leapfrog, 4 for Yoshida's composition.

    Returns:
        Positions and momenta at the times.
    """
    q, p = q0, p0
    positions, momenta = [q], [p]
    for span in times.diff().tolist():
        h = span / substeps
        for _ in range(substeps):
            for weight in _composition(order):
                p = p + (weight * h / 2) * force(q)
                q = q + (weight * h) * velocity(p)
                p = p + (weight * h / 2) * force(q)
        positions.append(q)
        momenta.append(p)
    return torch.stack(positions, 1), torch.stack(momenta, 1)


def _composition(order: int) -> tuple[float, ...]:
    w = 1 / (2 - 2 ** (1 / 3))
    return (1.0,) if order == 2 else (w, 1 - 2 * w, w)


def _midpoint(rhs: RightHandSide, x0: Tensor, times: Tensor, substeps: int) -> Tensor:
    """Solve x' = x + h rhs((x + x') / 2) by fixed-point iteration, in the composition of order 4."""
    x, out = x0, [x0]
    for start, end in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        t = start
        for _ in range(substeps):
            for weight in _composition(4):
                h = weight * (end - start) / substeps
                middle = torch.full_like(x[:, 0], t + h / 2)
                step = h * rhs(x, middle)
                close = 1e-13 * (1 + x.abs().amax(1, keepdim=True))
                found = torch.zeros_like(x[:, :1], dtype=torch.bool)
                for _ in range(_MOST_ITERATIONS):
                    better = torch.where(found, step, h * rhs(x + step / 2, middle))
                    found = found | ((better - step).abs().amax(1, keepdim=True) <= close)
                    step = better
                    if bool(found.all()):
                        break
                else:
                    raise UserError(
                        f"substeps: the implicit midpoint rule does not converge at step {abs(h):.3g}; take more substeps"
                    )
                x = x + step
                t += h
        out.append(x)
    return torch.stack(out, 1)


def integrate_arrays(
    rhs: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x0: Float[np.ndarray, "b n"],
    times: Float[np.ndarray, " t"],
    *,
    rtol: float = 1e-9,
    atol: float = 1e-9,
) -> Float[np.ndarray, "b t n"]:
    """Solve dx/dt = rhs(x, t) by the adaptive method of :func:`integrate`, in NumPy.

    Some thousands of operations on a few hundred numbers each follow one another: NumPy starts one several times faster
    than PyTorch, and an accelerator slower still. Columns of the x that ``rhs`` is given are contiguous in memory.

    Raises:
        UserError: An equation that no step size solves.
    """
    tableau = _tableau()
    size, b = x0.shape[1], len(x0)
    out = np.empty((b, len(times), size))
    out[:, 0] = x0
    t, end = np.full(b, times[0]), times[-1]
    least = 1e-14 * max(abs(end), abs(times[0]), end - times[0])
    x = np.ascontiguousarray(x0.T)
    slopes = np.empty((16, size, b))
    flat = slopes.reshape(16, -1)
    passed = np.ones(b, dtype=int)  # how many of the times each sequence has behind it

    def weighted(weights: np.ndarray) -> np.ndarray:
        return np.dot(weights, flat[: len(weights)]).reshape(size, b)

    def stage(i: int, c: float) -> None:
        slopes[i] = rhs((x + step * weighted(tableau.a[i])).T, t + c * step).T

    slopes[0] = rhs(x.T, t).T
    with np.errstate(all="ignore"):  # a step too long may overflow; it is taken back
        h = _first_step(rhs, x, t, slopes[0], rtol, atol)
        grow = np.full(b, _GROW)
        for _ in range(_MOST_STEPS):
            left = end - t
            going = left > 0
            if not going.any():
                return out
            last = h >= left
            step = np.where(last, left, h)
            for i in range(1, 12):
                stage(i, tableau.c[i])
            new = x + step * weighted(tableau.b)
            arrived = np.where(last, end, t + step)
            slopes[12] = rhs(new.T, arrived).T

            scale = atol + rtol * np.maximum(np.abs(x), np.abs(new))
            fifth = np.square(weighted(tableau.e5) / scale).sum(0)
            third = np.square(weighted(tableau.e3) / scale).sum(0)
            error = step * fifth / np.sqrt((fifth + 0.01 * third) * size + 1e-300)
            good = error < 1  # not true of a step into infinity
            moved = good & going
            before, passed = passed, np.where(moved, np.searchsorted(times, arrived, side="right"), passed)
            crossed = passed - before
            if crossed.any():
                for i in range(13, 16):
                    stage(i, tableau.c[i])
                sequence = np.repeat(np.arange(b), crossed)
                frame = np.arange(len(sequence)) + np.repeat(passed - crossed.cumsum(), crossed)
                at = (times[frame] - t[sequence]) / step[sequence]
                out[sequence, frame] = _dense(x, new, step, slopes, sequence, at).T
            x = np.where(moved, new, x)
            slopes[0] = np.where(moved, slopes[12], slopes[0])
            t = np.where(moved, arrived, t)
            factor = np.nan_to_num(_SAFETY * np.maximum(error, 1e-16) ** (-1 / 8), nan=_SHRINK)
            h = step * np.clip(factor, _SHRINK, np.where(good, grow, 1.0))
            grow = np.where(good, _GROW, 1.0)  # no growth right after a rejected step
            stuck = np.flatnonzero((h < least) & (t < end))
            if len(stuck):
                raise UserError(f"integrate: sequence {stuck[0]} has no finite solution beyond t = {t[stuck[0]]:.6g}")
    raise UserError(f"integrate: more than {_MOST_STEPS} steps up to t = {end:.6g}; the equation may be stiff")


@dataclass(frozen=True)
class _Tableau:
    """Coefficients of Dormand-Prince 8(5,3): of the stages, of the two error estimates and of the dense output."""

    a: tuple[np.ndarray, ...]
    b: np.ndarray
    c: np.ndarray
    e3: np.ndarray
    e5: np.ndarray
    d: np.ndarray


@functools.cache
def _tableau() -> _Tableau:
    from scipy.integrate import DOP853 as published  # noqa: N811

    stages = [row[:i] for i, row in enumerate(published.A)] + [published.B]
    dense = [row[:i] for i, row in enumerate(published.A_EXTRA, start=13)]
    nodes = np.concatenate([published.C, [1.0], published.C_EXTRA])
    return _Tableau((*stages, *dense), published.B, nodes, published.E3, published.E5, published.D)


def _dense(
    x: np.ndarray, new: np.ndarray, step: np.ndarray, slopes: np.ndarray, sequence: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """Evaluate the polynomial of order 7 through a step, at the fractions ``at`` of the steps of ``sequence``."""
    change = new - x
    terms = [change, step * slopes[0] - change, 2 * change - step * (slopes[12] + slopes[0])]
    terms += list(step * np.dot(_tableau().d, slopes.reshape(16, -1)).reshape(-1, *x.shape))
    value, rest = np.zeros((len(x), len(sequence))), 1 - at
    for i, term in enumerate(np.array(terms)[::-1, :, sequence]):
        value = (value + term) * (at if i % 2 == 0 else rest)
    return value + x[:, sequence]


def _first_step(
    rhs: Callable[[np.ndarray, np.ndarray], np.ndarray],
    x: np.ndarray,
    t: np.ndarray,
    slope: np.ndarray,
    rtol: float,
    atol: float,
) -> np.ndarray:
    """Guess the first step of each sequence (Hairer, Norsett & Wanner 1993, section II.4)."""
    scale = (atol + rtol * np.abs(x)) * len(x) ** 0.5
    d0, d1 = np.linalg.norm(x / scale, axis=0), np.linalg.norm(slope / scale, axis=0)
    h0 = np.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
    d2 = np.linalg.norm((rhs((x + h0 * slope).T, t + h0).T - slope) / scale, axis=0) / h0
    steepest = np.maximum(d1, d2)
    h1 = np.where(steepest <= 1e-15, np.maximum(h0 * 1e-3, 1e-6), (0.01 / steepest) ** (1 / 8))
    return np.nan_to_num(np.minimum(100 * h0, h1), nan=1e-6)
