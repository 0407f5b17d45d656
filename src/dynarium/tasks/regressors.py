"""Two ways to read numbers off a representation: ridge regression in closed form, and a small network."""

import copy
from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

Regressor = Callable[[Tensor], Tensor]
"""From features [m, d] to numbers [m, n]."""

ROWS_AT_ONCE = 8192


def linear_regressor(x: Float[Tensor, "m d"], y: Float[Tensor, "m n"], ridge: float = 1e-3) -> Regressor:
    """Fit ``y = W' z + mean(y)`` with ``W = (Z'Z / m + ridge I)^-1 Z'Y / m``, in double precision.

    ``z`` is x standardised with the statistics of these rows, so that ``ridge`` is a share of a feature's variance. A
    constant feature gets no weight. Without a ridge (0) the solution of least norm is taken.
    """
    shift, scale = _statistics(x)
    centre = y.double().mean(0)
    m, d = x.shape
    gram = torch.zeros(d, d, dtype=torch.float64)
    cross = torch.zeros(d, y.shape[1], dtype=torch.float64)
    for part, wanted in zip(x.split(ROWS_AT_ONCE), y.split(ROWS_AT_ONCE), strict=True):
        z = (part.double() - shift) / scale
        gram += z.T @ z
        cross += z.T @ (wanted.double() - centre)
    values, vectors = torch.linalg.eigh(gram / m)
    kept = values > 1e-12 * values[-1].clamp(min=1e-300)
    inverse = torch.where(kept, 1 / (torch.where(kept, values, 1.0) + ridge), 0.0)
    weight = vectors @ (inverse[:, None] * (vectors.T @ cross / m))

    def read(features: Tensor) -> Tensor:
        parts = [((part.double() - shift) / scale) @ weight + centre for part in features.split(ROWS_AT_ONCE)]
        return torch.cat(parts) if parts else y.new_zeros(0, y.shape[1], dtype=torch.float64)

    return read


def mlp_regressor(
    x: Float[Tensor, "m d"],
    y: Float[Tensor, "m n"],
    x_val: Float[Tensor, "v d"],
    y_val: Float[Tensor, "v n"],
    *,
    seed: int = 0,
    width: int = 128,
    steps: int = 1500,
    batch_size: int = 256,
    learning_rate: float = 5e-3,
    check_every: int = 50,
    patience: int = 8,
) -> Regressor:
    """Fit a network of two hidden layers (SiLU) to standardised x and y by Adam, and keep it at its best validation error.

    Args:
        x: Features.
        y: Numbers to read off them.
        x_val: Features of the validation rows; they choose when to stop and nothing else.
        y_val: Their numbers.
        seed: Seed of the first weights and of the order of the rows; the global generator is not touched.
        width: Units of a hidden layer.
        steps: Most optimiser steps.
        batch_size: Rows of a step.
        learning_rate: That of the first step; it falls to 0 along a half cosine.
        check_every: Steps between two looks at the validation error.
        patience: Stop after so many looks without a better one.
    """
    (shift, scale), (centre, spread) = _statistics(x), _statistics(y)
    inputs, targets, val_inputs, val_targets = (
        ((values.double() - a) / b).float()
        for values, a, b in ((x, shift, scale), (y, centre, spread), (x_val, shift, scale), (y_val, centre, spread))
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1], width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, y.shape[1])
        )
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best, since, kept = float("inf"), 0, copy.deepcopy(network.state_dict())
    for step, rows in enumerate(_batches(len(inputs), batch_size, steps, generator), 1):
        optimizer.zero_grad()
        with torch.enable_grad():
            (network(inputs[rows]) - targets[rows]).square().mean().backward()
        optimizer.step()
        schedule.step()
        if step % check_every and step < steps:
            continue
        with torch.no_grad():
            error = float((network(val_inputs) - val_targets).square().mean())
        if error < best:
            best, since, kept = error, 0, copy.deepcopy(network.state_dict())
        else:
            since += 1
        if since >= patience:
            break
    network.load_state_dict(kept)

    @torch.no_grad()
    def read(features: Tensor) -> Tensor:
        return network(((features.double() - shift) / scale).float()).double() * spread + centre

    return read


def sgd_regressor(
    x: Float[Tensor, "m d"],
    y: Float[Tensor, "m n"],
    *,
    epochs: int = 30,
    seed: int = 0,
    batch_size: int = 2048,
    learning_rate: float = 1e-3,
) -> Regressor:
    """Fit ``y = mean(y) + sd(y) (W x)`` by Adam: the features as they are, no bias (the probe of Sobal et al. 2022).

    Numbers are standardised with the statistics of these rows, so that the missing bias costs little. The error falls long
    after 30 passes; ``linear_regressor`` is where it falls to.

    Args:
        x: Features.
        y: Numbers to read off them.
        epochs: Passes over the rows.
        seed: Seed of the first weights and of the order of the rows; the global generator is not touched.
        batch_size: Rows of a step.
        learning_rate: That of every step.
    """
    centre, spread = _statistics(y)
    inputs, targets = x.float(), ((y.double() - centre) / spread).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Linear(x.shape[1], y.shape[1], bias=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    for rows in _batches(len(inputs), batch_size, epochs * -(-len(inputs) // batch_size), generator):
        optimizer.zero_grad()
        with torch.enable_grad():
            (network(inputs[rows]) - targets[rows]).square().sum(1).mean().backward()
        optimizer.step()

    @torch.no_grad()
    def read(features: Tensor) -> Tensor:
        return network(features.float()).double() * spread + centre

    return read


def _batches(m: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield the rows of so many steps, pass after pass in a new order."""
    left: list[Tensor] = []
    for _ in range(steps):
        left = left or list(torch.randperm(m, generator=generator).split(size))
        yield left.pop()


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of each column in double precision; 1 for a constant one."""
    count = len(x)
    mean = sum(part.double().sum(0) for part in x.split(ROWS_AT_ONCE)) / count
    square = sum((part.double() - mean).square().sum(0) for part in x.split(ROWS_AT_ONCE)) / count
    assert isinstance(mean, Tensor) and isinstance(square, Tensor)
    spread = square.sqrt()
    return mean, torch.where(spread > 1e-12 * (1 + mean.abs()), spread, 1.0)
