"""Forecasting of sensors: give the first observations, ask for the rest; and how likely whole sequences are."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.models.capabilities import BoundsLikelihood, ForecastsObservations
from dynarium.tasks.ceiling import TrueModel, true_model
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, known_steps, need
from dynarium.types import Result, SequenceBatch

TRAIN_SEQUENCES = 200
"""Training sequences whose mean and variance errors are measured by."""


@dataclass(frozen=True, kw_only=True)
class ForecastObservations:
    """Continuation of observed sequences.

    Metric: ``normalised_mse``, the squared error of each sensor as a share of that sensor's variance over training data,
    averaged over sensors; so that the training mean scores about 1. Rows for some steps ahead and, as
    ``normalised_mse_mean``, over the whole horizon: ``mean`` (the roll-out of the means), ``sample`` (expected error of one
    sampled future), and the trivial ``training-mean``, ``hold-last`` and ``constant-velocity``. ``log_likelihood`` is log
    p(y) per step of whole sequences, in nats, or the model's lower bound of it. Of worlds whose law is known there is
    a further bound, ``true-model``: what the world's own equations, parameters and actions, filtered, would score.

    Attributes:
        context: First steps that are given.
        horizon: Steps to forecast; ``None``: all the rest.
        ahead: Steps ahead that have a row of their own.
        samples: Sampled futures of each sequence; 0: only the mean.
        true_model_samples: Sampled futures whose mean is the forecast of the true model; 0: no such row.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the samples.
    """

    context: int = 50
    horizon: int | None = None
    ahead: tuple[int, ...] = (1, 5, 10, 20, 50, 100)
    samples: int = 5
    true_model_samples: int = 50
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name."""
        return "forecast-observations"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Give the context, ask, compare.

        Raises:
            UserError: The model cannot forecast observations, the dataset has none, or the sequences are too short.
        """
        need(model, ForecastsObservations, self.name)
        horizon = dataset.steps - self.context if self.horizon is None else self.horizon
        if not (self.context >= 2 and horizon >= 1 and self.context + horizon <= dataset.steps):
            raise UserError(
                f"forecast-observations: expected a context of at least 2 and at least one step after it within the "
                f"{dataset.steps} steps of {dataset.directory}, got context {self.context} and horizon {horizon}"
            )
        device, tally, examples = device_of(model), Tally(), {}
        mean, variance = self._scale(dataset)
        generator = torch.Generator(device).manual_seed(self.seed)
        ceiling = true_model(dataset, variance) if self.true_model_samples else None
        for k, batch in enumerate(self._batches(dataset, self.split, self.sequences)):
            given, _ = cut(batch.to(device), self.context)
            assert batch.observation is not None
            y, known = batch.observation.double(), known_steps(batch)
            truth = y[:, self.context : self.context + horizon]
            scored = known[:, self.context : self.context + horizon]
            answers = {"mean": model.forecast_observations(given, horizon).cpu()}
            if self.samples:
                answers["sample"] = model.forecast_observations(
                    given, horizon, samples=self.samples, generator=generator
                ).cpu()
            if ceiling is not None:
                answers["true-model"] = self._bound(ceiling, batch, horizon, k)[None]
            trivial = _trivial(y[:, : self.context], known[:, : self.context], mean, horizon)
            for baseline, group in ((False, answers), (True, trivial)):
                for method, found in group.items():
                    error = ((found - truth).square() / variance).mean(-1).mean(0)
                    for step in (step for step in self.ahead if step <= horizon):
                        one, ahead = slice(step - 1, step), {"steps ahead": step}
                        tally.add(method, "normalised_mse", ahead, error[:, one], scored[:, one], baseline=baseline)
                    over = {"horizon": horizon}
                    tally.add(method, "normalised_mse_mean", over, error, scored, baseline=baseline)
            evidence = {"model": _log_likelihood(model, batch.to(device))}
            if ceiling is not None and evidence["model"] is not None:
                evidence["true-model"] = ceiling.log_likelihood(batch)
            for method, nats in evidence.items():
                if nats is not None:
                    steps = known.sum(1).double()
                    per_step = nats.cpu() / steps.clamp(min=1)
                    tally.add(method, "log_likelihood", {"steps": dataset.steps}, per_step, steps > 0)
            if k == 0:
                examples = {"observation/truth": y[: self.shown], "observation/mean": answers["mean"][0, : self.shown]}
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    def _bound(self, ceiling: TrueModel, batch: SequenceBatch, horizon: int, number: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed + number)
        samples = self.true_model_samples
        return ceiling.forecast(batch, self.context, horizon, samples=samples, generator=generator)

    def _batches(self, dataset: Dataset, split: str, sequences: int | None) -> Any:
        return evaluation_batches(dataset, split, sequences, self.batch_size, needs=("observation",))

    def _scale(self, dataset: Dataset) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each sensor over training sequences."""
        split = "train" if "train" in dataset.schema.splits else self.split
        batches = list(self._batches(dataset, split, TRAIN_SEQUENCES))
        rows = torch.cat([batch.observation.double()[known_steps(batch)] for batch in batches])
        return rows.mean(0), rows.var(0, correction=0).clamp(min=1e-12)


def _log_likelihood(model: object, batch: SequenceBatch) -> Tensor | None:
    return model.bound(batch) if isinstance(model, BoundsLikelihood) else None


def _trivial(y: Tensor, known: Tensor, mean: Tensor, horizon: int) -> dict[str, Tensor]:
    """Return the trivial forecasts [1, b, f, p] from the last two known observations; the mean where there are none."""
    steps = torch.arange(y.shape[1]).expand_as(known)
    last = torch.where(known, steps, -1).max(1).values
    second = torch.where(known & (steps < last[:, None]), steps, -1).max(1).values
    rows = torch.arange(len(y))
    held = torch.where(last[:, None] >= 0, y[rows, last], mean)
    gap = (last - second).clamp(min=1)[:, None]
    velocity = torch.where(second[:, None] >= 0, (held - y[rows, second]) / gap, 0.0)
    ahead = (y.shape[1] - 1 - last)[:, None] + torch.arange(1, horizon + 1)
    return {
        "training-mean": mean.expand(1, len(y), horizon, -1),
        "hold-last": held[None, :, None].expand(1, len(y), horizon, -1),
        "constant-velocity": (held[:, None] + ahead[..., None] * velocity[:, None])[None],
    }
