"""What would the perfect model score? The true law of a world, filtered."""

import contextlib
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium import config
from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.ssm.filtering import Filtered
from dynarium.ssm.model import apply, every_step
from dynarium.ssm.nonlinear import NonlinearGaussian, unscented_kalman_filter
from dynarium.ssm.smoothing import square_root
from dynarium.systems.base import HasStateSpace
from dynarium.tasks.common import known_steps
from dynarium.types import SequenceBatch

ROUNDING = 1e-6
"""Noise that every sensor has at least, as a share of its standard deviation: files keep seven digits."""


@dataclass(frozen=True, kw_only=True)
class TrueModel:
    """The world itself as a model: its equations, parameters, actions and noise are known, its states are not.

    States are inferred by an unscented Kalman filter, so that where it is not exact (strong nonlinearity within the
    uncertainty of a state) a model can come out ahead.

    Attributes:
        world: The world.
        rounding: Variance of the rounding of each sensor.
    """

    world: HasStateSpace
    rounding: Float[Tensor, " p"]

    def forecast(
        self, batch: SequenceBatch, context: int, horizon: int, *, samples: int, generator: torch.Generator
    ) -> Float[Tensor, "b f p"]:
        """Return E[y | the first ``context`` observations] of the steps after them: the mean of ``samples`` futures."""
        model, u = self._law(batch)
        filtered = self._filtered(model, batch, u, context)
        mean, cov = filtered.mean[:, -1], filtered.cov[:, -1]

        def drawn(root: Tensor) -> Tensor:
            return apply(root, torch.randn(samples, *mean.shape, dtype=mean.dtype, generator=generator))

        z, found = mean + drawn(square_root(cov)), []
        steps = context + horizon
        for t in range(context, steps):
            Q = every_step(model.Q, len(mean), steps)[:, t] if isinstance(model.Q, Tensor) else model.Q(z, t)
            z = model.transition(z, None if u is None else u[:, t], t)
            if bool(Q.any()):
                z = z + drawn(square_root(Q))
            found.append(model.observation(z).mean(0))
        return torch.stack(found, 1)

    def log_likelihood(self, batch: SequenceBatch) -> Float[Tensor, " b"] | None:
        """Return log p(y) of every sequence in nats; ``None`` for a world whose sensors have no noise: it has no bound."""
        model, u = self._law(batch)
        if not bool((model.R.diagonal(dim1=-2, dim2=-1) > 2 * self.rounding).all()):
            return None
        assert batch.observation is not None
        return self._filtered(model, batch, u, batch.observation.shape[1]).log_likelihood.sum(1)

    def _law(self, batch: SequenceBatch) -> tuple[NonlinearGaussian, Tensor | None]:
        """Return the law of the sequences and their controls, each entry the action that leads into its step."""
        empty = torch.zeros(len(batch), 0)
        model = self.world.state_space((empty if batch.parameter is None else batch.parameter).double())
        u = None if batch.action is None else batch.action.double().roll(1, dims=1)
        return replace(model, R=model.R + self.rounding.diag()), u

    def _filtered(self, model: NonlinearGaussian, batch: SequenceBatch, u: Tensor | None, steps: int) -> Filtered:
        assert batch.observation is not None
        y, known = batch.observation[:, :steps].double(), known_steps(batch)[:, :steps]
        return unscented_kalman_filter(model, y, known, None if u is None else u[:, :steps])


def true_model(dataset: Dataset, variance: Float[Tensor, " p"]) -> TrueModel | None:
    """Return the world that a dataset was made of, if its law is known; ``variance`` is that of each sensor."""
    if "class" in dataset.schema.generator:
        with contextlib.suppress(UserError):  # the world of a user whose module is not here
            world = config.from_dict(dataset.schema.generator)
            if isinstance(world, HasStateSpace):
                return TrueModel(world=world, rounding=ROUNDING**2 * variance)
    return None
