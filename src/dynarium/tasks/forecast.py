"""Forecasting: give the first frames, ask for the rest."""

from dataclasses import dataclass
from typing import Any

import torch

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.frames import squared_error, wrong_pixels
from dynarium.models.capabilities import Forecasts
from dynarium.tasks.baselines import background, hold_last, where_any
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.types import Result


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Continuation of sequences; an error for every step ahead.

    Rows: ``mean`` (the deterministic roll-out), ``sample`` (expected error of one sampled future), and the trivial rows
    ``blank`` (the median training frame) and ``hold-last``.

    Attributes:
        context: First frames that are given.
        horizon: Frames to forecast; ``None``: all the rest.
        samples: Sampled futures of each sequence; 0: only the mean.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the samples.
    """

    context: int = 4
    horizon: int | None = None
    samples: int = 5
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name."""
        return "forecast"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Give the context, ask, compare.

        Raises:
            UserError: The model cannot forecast, or the sequences are too short.
        """
        need(model, Forecasts, self.name)
        horizon = dataset.steps - self.context if self.horizon is None else self.horizon
        if not (self.context >= 1 and horizon >= 1 and self.context + horizon <= dataset.steps):
            raise UserError(
                f"forecast: expected a context and at least one frame after it within the {dataset.steps} steps of "
                f"{dataset.directory}, got context {self.context} and horizon {self.horizon or 'all that follow'}"
            )
        device, blank, tally, examples = device_of(model), background(dataset), Tally(), {}
        generator = torch.Generator(device).manual_seed(self.seed)
        for k, batch in enumerate(evaluation_batches(dataset, self.split, self.sequences, self.batch_size)):
            given, rest = cut(batch.to(device), self.context)
            video, known = frames_of(batch), known_steps(batch)
            truth = video[:, self.context : self.context + horizon]
            answers = {"mean": model.forecast(given, horizon, action=rest.action).cpu()}
            if self.samples:
                answers["sample"] = model.forecast(
                    given, horizon, action=rest.action, samples=self.samples, generator=generator
                ).cpu()
            scored = known[:, self.context : self.context + horizon]
            seen = known[:, : self.context]
            last = where_any(seen, hold_last(video[:, : self.context], seen)[:, -1:], blank)
            trivial = {"blank": blank.expand_as(truth)[None], "hold-last": last.expand_as(truth)[None]}
            for baseline, group in ((False, answers), (True, trivial)):
                for method, frames in group.items():
                    for metric, error in (("wrong_pixels", wrong_pixels), ("mse", squared_error)):
                        values = error(frames, truth).mean(0)
                        for step in range(horizon):
                            one, counted = values[:, step : step + 1], scored[:, step : step + 1]
                            tally.add(method, metric, {"steps ahead": step + 1}, one, counted, baseline=baseline)
                        tally.add(method, f"{metric}_mean", {"horizon": horizon}, values, scored, baseline=baseline)
            if k == 0:
                n, before = self.shown, video[: self.shown, : self.context]
                examples = {"video/truth": video[:n, : self.context + horizon], "context": torch.tensor(self.context)}
                examples["video/mean"] = torch.cat([before, answers["mean"][0, :n]], 1)
                for i in range(min(2, self.samples)):
                    examples[f"video/sample-{i + 1}"] = torch.cat([before, answers["sample"][i, :n]], 1)
        return Result(task=self.name, rows=tally.rows(), examples=examples)
