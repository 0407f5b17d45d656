"""How many modes? Models with different numbers of them, fitted alike, held against sequences that none has seen."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.models.capabilities import BoundsLikelihood, HasModes, Prepares
from dynarium.tasks.common import Tally, device_of, evaluation_batches, known_steps, need
from dynarium.types import Result, SequenceBatch


@dataclass(frozen=True, kw_only=True)
class SelectModes:
    """The evidence for each number of modes.

    For every number a fresh model of the same configuration is fitted to the training split. Metric: ``log_likelihood``, log
    p(y) per step in nats or the model's lower bound of it, of the sequences of the split (``held-out``) and of those that the
    model was fitted to (``fitted``, a bound: it grows with the number of modes whether they are real or not). The number to
    take is the one of the highest held-out value; where that hardly grows any more, the smaller one. Trivial row:
    ``gaussian``, all steps independent draws of one Gaussian, that of the training split.

    Attributes:
        modes: Numbers to compare.
        train_sequences: Fit to so many sequences; ``None``: all.
        split: Split to score on. As the answer decides between models, it should not be the test split.
        sequences: Score so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        seed: Seed of the fits.
    """

    modes: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    train_sequences: int | None = None
    split: str = "val"
    sequences: int | None = None
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.modes or min(self.modes) < 1:
            raise UserError(f"select-modes.modes: expected numbers of at least 1, got {self.modes}")
        if self.split == "train":
            raise UserError("select-modes.split: expected another split than 'train', to which the models are fitted")

    @property
    def name(self) -> str:
        """The task's name."""
        return "select-modes"

    def run(self, model: Any, dataset: Dataset) -> Result:
        """Fit and score a model for each number of modes.

        Raises:
            UserError: The model cannot change its number of modes, be fitted, or score; or the dataset lacks a split.
        """
        for capability in (HasModes, Prepares, BoundsLikelihood):
            need(model, capability, self.name)
        device, tally = device_of(model), Tally()
        splits = {
            name: [batch.to(device) for batch in evaluation_batches(dataset, split, count, self.batch_size, needs=())]
            for name, split, count in (
                ("held-out", self.split, self.sequences),
                ("fitted", "train", self.train_sequences),
            )
        }
        trivial = _gaussian(splits["fitted"])
        for k in self.modes:
            torch.manual_seed(self.seed)
            candidate = model.with_modes(k).to(device)
            candidate.prepare(splits["fitted"], self.seed)
            for name, batches in splits.items():
                for batch in batches:
                    steps = known_steps(batch).sum(1).double().cpu()
                    per_step = candidate.bound(batch).cpu() / steps.clamp(min=1)
                    tally.add(name, "log_likelihood", {"modes": k}, per_step, steps > 0)
            for batch in splits["held-out"]:
                known = known_steps(batch).cpu()
                each = trivial.log_prob(_observations(batch)).where(known, 0)
                per_step = each.sum(1) / known.sum(1).clamp(min=1)
                tally.add("gaussian", "log_likelihood", {"modes": k}, per_step, known.any(1), baseline=True)
        return Result(task=self.name, rows=tally.rows())


def _gaussian(batches: list[SequenceBatch]) -> MultivariateNormal:
    """Return the Gaussian of all known observations."""
    y = torch.cat([_observations(batch)[known_steps(batch).cpu()] for batch in batches])
    return MultivariateNormal(y.mean(0), y.T.cov() + 1e-6 * torch.eye(y.shape[1], dtype=y.dtype))


def _observations(batch: SequenceBatch) -> Float[Tensor, "b t p"]:
    if batch.observation is None:
        raise UserError("select-modes: the data has no observations that are not images")
    return batch.observation.double().cpu().nan_to_num()
