"""Output-error models of several orders, averaged with Akaike's weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.ssm.output_error import fit_output_error

LEAST_ERROR = 1e-3
"""What a fit leaves counts as no less than this share of the outputs' root mean square."""


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """What several models say, from the first step of the past to the last one of the future."""

    mean: Float[Tensor, "b t p"]
    simulations: Float[Tensor, "b t q"]  # of each model, all outputs of one order side by side
    error: Float[Tensor, "b 1 p"]  # root mean squared error that the average leaves in the past
    spread: Float[Tensor, "b t p"]  # weighted standard deviation of the simulations about their mean


@torch.no_grad()
def averaged_output_error(
    u: Float[Tensor, "b t a"],
    y: Float[Tensor, "b m p"],
    orders: Sequence[int],
    iterations: int = 8,
    seen: Bool[Tensor, "b m"] | None = None,
) -> Averaged:
    """Fit a model of each order and output to the past and simulate all steps, in double precision.

    The weight of a model is proportional to exp(-AIC / 2), AIC = N log(mean squared error) + 2 k, with N steps that are seen
    and k coefficients: numerators, denominator, initial state and constant (Burnham & Anderson 2002, section 2.9).

    Args:
        u: Inputs of past and future.
        y: Outputs of the past.
        orders: Numbers of poles.
        iterations: Iterations of each fit.
        seen: Which outputs are known; ``None``: all.
    """
    u, y, m = u.double(), y.double(), y.shape[1]
    known = torch.ones_like(y[..., :1]) if seen is None else seen[..., None].double()
    y = torch.where(known > 0, y, 0)
    count = known.sum(1).clamp(min=1)
    floor = LEAST_ERROR * ((known * y.square()).sum(1) / count).sqrt().clamp(min=1e-9)
    answers, criteria = [], []
    for order in orders:
        answer = fit_output_error(u[:, :m], y, order, iterations=iterations, seen=seen).simulate(u)
        squared = (known * (answer[:, :m] - y).square()).sum(1) / count
        coefficients = (order + 1) * u.shape[2] + 2 * order + 1
        criteria.append(count * (squared + 1e-4 * floor.square()).log() + 2 * coefficients)
        answers.append(answer)
    weight = torch.softmax(-0.5 * torch.stack(criteria), 0)[:, :, None]
    stacked = torch.stack(answers)
    mean = (weight * stacked).sum(0)
    error = ((known * (mean[:, :m] - y).square()).sum(1) / count).sqrt()
    return Averaged(
        mean=mean,
        simulations=torch.cat(answers, 2),
        error=torch.maximum(error, floor)[:, None],
        spread=(weight * (stacked - mean).square()).sum(0).sqrt(),
    )
