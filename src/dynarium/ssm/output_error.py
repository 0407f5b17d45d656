"""Output-error models of many linear systems at once, from inputs and outputs.

    y_t = B(q) / A(q) u_t + c + e_t,    A(q) = 1 - a_1 q^-1 - .. - a_n q^-n,    B(q) = b_0 + .. + b_n q^-n,

whose noise e_t is white and added to the output, so that, unlike that of an ARX model, it does not bend the poles. The error
is not linear in A; the iteration of Steiglitz & McBride (1965) makes it so by filtering all signals with the last 1/A.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.ssm.rational import all_pole, bounded, impulse, lags, solution

SLOWEST = 0.999
"""Poles of the filter 1/A further out are drawn in to this size."""


@dataclass(frozen=True, kw_only=True)
class OutputError:
    """The models; ``at_rest`` holds what an initial state adds, as the numerator of an impulse at the first step."""

    numerator: Float[Tensor, "b p a m"]
    denominator: Float[Tensor, "b p n"]
    offset: Float[Tensor, "b p"]
    start: Float[Tensor, "b p n"]

    def simulate(self, u: Float[Tensor, "b t a"]) -> Float[Tensor, "b t p"]:
        """Return the outputs from the first step of the fit on, from inputs that may go on after it."""
        p, n = self.denominator.shape[1:]
        driven = torch.einsum("btam,bpam->bpt", lags(u, 0, n), self.numerator) + self.offset[..., None]
        driven[..., :n] += self.start[..., : u.shape[1]]
        answer = all_pole(driven.flatten(0, 1)[..., None], self.denominator.flatten(0, 1))
        return bounded(answer)[..., 0].unflatten(0, (-1, p)).mT


def fit_output_error(
    u: Float[Tensor, "b t a"],
    y: Float[Tensor, "b t p"],
    order: int,
    *,
    iterations: int = 8,
    ridge: float = 1e-9,
    seen: Bool[Tensor, "b t"] | None = None,
) -> OutputError:
    """Fit a model of each sequence; of all iterates, the ARX model that comes first among them, the one that simulates best.

    The initial state is free. Poles outside the unit circle, which few and noisy steps fit well, are drawn in to it before a
    model simulates. Outputs that are not seen take no part: the equations that would need them are left out at first, and then
    they are taken from the last model's simulation.

    Args:
        u: Inputs, in float64.
        y: Outputs.
        order: Number n of poles of each output.
        iterations: Filterings by the last denominator.
        ridge: Penalty of the coefficients, as a share of the mean squared regressor; signals are wanted at one scale.
        seen: Which outputs are known; ``None``: all.
    """
    p, inputs = y.shape[2], u.repeat_interleave(y.shape[2], 0)
    target = y.mT.flatten(0, 1)
    known = torch.ones_like(target) if seen is None else seen.repeat_interleave(p, 0).to(target)
    target = torch.where(known > 0, target, 0)
    others = torch.cat([inputs, impulse(inputs), torch.ones_like(inputs[..., :1])], 2)

    def solved(signals: Tensor, weight: Tensor) -> Tensor:
        *driving, first, one, out = signals.split(1, 2)
        parts = [lags(x, 0, order) for x in driving] + [lags(first, 0, order - 1), lags(out, 1, order)]
        x = torch.cat([*(part.flatten(2) for part in parts), one], 2)
        gram = x.mT @ (weight[..., None] * x)
        scale = gram.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-150)
        gram = gram + ridge * scale[:, None, None] * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
        return solution(gram, x.mT @ (weight * out[..., 0])[..., None])

    def model_of(weights: Tensor) -> OutputError:
        a = inputs.shape[2]
        numerator, start, denominator, offset = weights.split([a * (order + 1), order, order, 1], 1)
        return OutputError(
            numerator=numerator.reshape(-1, p, a, order + 1),
            denominator=_drawn_in(denominator, 1.0).reshape(-1, p, order),
            offset=offset.reshape(-1, p),
            start=start.reshape(-1, p, order),
        )

    past = F.pad(known, (order, 0)).unfold(1, order + 1, 1).amin(2) if seen is not None else known
    weights = solved(torch.cat([others, target[..., None]], 2), past)
    best, least = weights, torch.full_like(target[:, 0], torch.inf)
    for iteration in range(iterations + 1):
        answer = model_of(weights).simulate(u).mT.flatten(0, 1)
        error = (known * (answer - target).square()).mean(1)
        better = error < least
        best, least = torch.where(better[:, None], weights, best), torch.where(better, error, least)
        if iteration == iterations:
            break
        signals = torch.cat([others, torch.where(known > 0, target, answer)[..., None]], 2)
        denominator = _drawn_in(weights[:, -1 - order : -1], SLOWEST)
        weights = solved(all_pole(signals, denominator), known)
    return model_of(best)


def _drawn_in(a: Float[Tensor, "r n"], most: float) -> Float[Tensor, "r n"]:
    """Return denominators whose poles are all drawn in by one factor, where one of them is larger than ``most``."""
    n = a.shape[1]
    companion = F.pad(torch.eye(n - 1, n, dtype=a.dtype, device=a.device), (0, 0, 1, 0)).expand(len(a), -1, -1).clone()
    companion[:, 0] = a
    largest = torch.linalg.eigvals(companion).abs().amax(1)
    factor = (most / largest.clamp(min=1e-9)).clamp(max=1)
    return a * factor[:, None] ** torch.arange(1, n + 1, dtype=a.dtype, device=a.device)
