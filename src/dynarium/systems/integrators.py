"""Batched integrators of ordinary differential equations: many sequences at once, each with its own step size.

``integrate`` is the truth: an adaptive method of order 8. ``symplectic`` and the implicit midpoint rule take fixed steps
and keep the energy of a Hamiltonian system bounded for ever.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError

RightHandSide = Callable[[Float[Tensor, "b n"], Float[Tensor, " b"]], Float[Tensor, "b n"]]
"""dx/dt at the states x and times t."""

# Step control of Hairer, Norsett & Wanner 1993, section II.4.
_SAFETY = 0.9
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
    return _dormand_prince(rhs, x0, times, rtol, atol)


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


@functools.cache
def _tableau() -> dict[str, list]:
    """Return the coefficients of Dormand-Prince 8(5,3), which SciPy publishes with its solver."""
    from scipy.integrate import DOP853

    names = {"a": "A", "b": "B", "c": "C", "e3": "E3", "e5": "E5", "d": "D", "a_dense": "A_EXTRA", "c_dense": "C_EXTRA"}
    return {short: getattr(DOP853, name).tolist() for short, name in names.items()}


def _dormand_prince(rhs: RightHandSide, x0: Tensor, times: Tensor, rtol: float, atol: float) -> Tensor:
    tableau = _tableau()
    out = x0.new_empty(len(x0), len(times), x0.shape[1])
    out[:, 0] = x0
    t, end = times[0].expand(len(x0)).clone(), float(times[-1])
    least = 1e-14 * max(abs(end), abs(float(times[0])), end - float(times[0]))
    x, slope = x0, rhs(x0, t)
    h = _first_step(rhs, x, t, slope, rtol, atol)
    grow = torch.full_like(t, _GROW)
    for _ in range(_MOST_STEPS):
        left = end - t
        if not bool((left > 0).any()):
            return out
        last = h >= left
        step = torch.where(last, left, h)
        column = step[:, None]
        slopes = [slope]
        for weights, node in zip(tableau["a"][1:], tableau["c"][1:], strict=True):
            slopes.append(rhs(x + column * _weighted(weights, slopes), t + node * step))
        new = x + column * _weighted(tableau["b"], slopes)
        arrived = torch.where(last, end, t + step)
        slopes.append(rhs(new, arrived))

        scale = atol + rtol * torch.maximum(x.abs(), new.abs())
        fifth = (_weighted(tableau["e5"], slopes) / scale).square().sum(1)
        third = (_weighted(tableau["e3"], slopes) / scale).square().sum(1)
        error = step * fifth / ((fifth + 0.01 * third) * x.shape[1]).sqrt().clamp(min=1e-300)
        good = error < 1  # not true of a step into infinity
        moved = good & (left > 0)
        if bool(moved.any()):
            wanted = ((times > t[:, None]) & (times <= arrived[:, None]) & moved[:, None]).nonzero()
            if len(wanted):
                sequence, frame = wanted.unbind(1)
                out[sequence, frame] = _dense(rhs, x, new, slopes, t, step, sequence, times[frame])
        keep = moved[:, None]
        x, slope = torch.where(keep, new, x), torch.where(keep, slopes[-1], slope)
        t = torch.where(moved, arrived, t)
        factor = (_SAFETY * error.clamp(min=1e-16) ** (-1 / 8)).nan_to_num(nan=_SHRINK).clamp(min=_SHRINK)
        factor = torch.where(good, torch.minimum(factor, grow), factor.clamp(max=1))
        h = step * factor
        grow = torch.where(good, _GROW, 1.0)  # no growth right after a rejected step
        stuck = (h < least) & (t < end)
        if bool(stuck.any()):
            worst = int(stuck.nonzero()[0, 0])
            raise UserError(f"integrate: sequence {worst} has no finite solution beyond t = {float(t[worst]):.6g}")
    raise UserError(f"integrate: more than {_MOST_STEPS} steps up to t = {end:.6g}; the equation may be stiff")


def _weighted(weights: list[float], slopes: list[Tensor]) -> Tensor:
    terms = [(weight, slope) for weight, slope in zip(weights, slopes, strict=False) if weight]
    total = terms[0][1] * terms[0][0]
    for weight, slope in terms[1:]:
        total = torch.add(total, slope, alpha=weight)
    return total


def _dense(
    rhs: RightHandSide,
    x: Tensor,
    new: Tensor,
    slopes: list[Tensor],
    t: Tensor,
    step: Tensor,
    sequence: Tensor,
    wanted: Tensor,
) -> Tensor:
    """Evaluate the polynomial of order 7 through a step at the times ``wanted`` of the sequences ``sequence``."""
    tableau, column = _tableau(), step[:, None]
    slopes = list(slopes)
    for weights, node in zip(tableau["a_dense"], tableau["c_dense"], strict=True):
        slopes.append(rhs(x + column * _weighted(weights, slopes), t + node * step))
    change = new - x
    terms = [change, column * slopes[0] - change, 2 * change - column * (slopes[12] + slopes[0])]
    terms += [column * _weighted(weights, slopes) for weights in tableau["d"]]
    at = ((wanted - t[sequence]) / step[sequence])[:, None]
    value = torch.zeros_like(x[sequence])
    for i, term in enumerate(reversed(terms)):
        value = (value + term[sequence]) * (at if i % 2 == 0 else 1 - at)
    return value + x[sequence]


def _first_step(rhs: RightHandSide, x: Tensor, t: Tensor, slope: Tensor, rtol: float, atol: float) -> Tensor:
    """Guess the first step of each sequence (Hairer, Norsett & Wanner 1993, section II.4)."""
    scale = atol + rtol * x.abs()
    size = x.shape[1] ** 0.5
    d0, d1 = (x / scale).norm(dim=1) / size, (slope / scale).norm(dim=1) / size
    h0 = torch.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1.clamp(min=1e-300))
    d2 = ((rhs(x + h0[:, None] * slope, t + h0) - slope) / scale).norm(dim=1) / size / h0
    steepest = torch.maximum(d1, d2)
    h1 = torch.where(steepest <= 1e-15, (h0 * 1e-3).clamp(min=1e-6), (0.01 / steepest.clamp(min=1e-300)) ** (1 / 8))
    return torch.minimum(100 * h0, h1).nan_to_num(nan=math.inf).clamp(max=1e6)
