"""Forecasting: give the first frames, ask for the rest."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.frames import squared_error, wrong_pixels
from dynarium.metrics.motion import (
    centroid_distance,
    normalised_mse,
    valid_prediction_distance,
    valid_prediction_time,
    valid_prediction_time_last,
)
from dynarium.models.capabilities import Forecasts
from dynarium.tasks.baselines import background, hold_last, where_any
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.types import Result

Metric = Literal[
    "wrong_pixels",
    "mse",
    "normalised_mse",
    "valid_prediction_time",
    "valid_prediction_time_last",
    "centroid_distance",
    "valid_prediction_distance",
]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Continuation of sequences; an error for every step ahead, and how long the forecast holds.

    Rows: ``mean`` (the deterministic roll-out), ``sample`` (expected error of one sampled future), and the trivial rows
    ``blank`` (the median training frame) and ``hold-last``. Errors of frames have a row for every step ahead and, as
    ``<metric>_mean``, one over the horizon; the others are one number of each sequence (``metrics/motion.py``).

    Attributes:
        context: First frames that are given.
        horizon: Frames to forecast; ``None``: all the rest.
        samples: Sampled futures of each sequence; 0: only the mean.
        metrics: What is measured.
        threshold: Mean squared error above which a frame is wrong, of the valid prediction times.
        lost: Pixels, on frames of 32, from which on an object counts as lost, of the valid prediction distance.
        shots: Whole sequences of the same task and split that the model is shown beside each sequence. They are not asked
            about; so ask a model without contexts with the same number, that the questions be the same.
        context_seed: Seed of which these are.
        per_task: Also a row of every summary for each task of the dataset.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the samples.
    """

    context: int = 4
    horizon: int | None = None
    samples: int = 5
    metrics: tuple[Metric, ...] = (
        "wrong_pixels",
        "mse",
        "valid_prediction_time",
        "centroid_distance",
        "valid_prediction_distance",
    )
    threshold: float = 0.02
    lost: float = 10.0
    shots: int = 0
    context_seed: int = 0
    per_task: bool = False
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name: ``forecast``, or e.g. ``forecast-15-shot``."""
        return f"forecast-{self.shots}-shot" if self.shots else "forecast"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Give the context, ask, compare.

        Raises:
            UserError: The model cannot forecast, the sequences are too short, or there are no tasks to tell apart.
        """
        need(model, Forecasts, self.name)
        horizon = dataset.steps - self.context if self.horizon is None else self.horizon
        if not (self.context >= 1 and horizon >= 1 and self.context + horizon <= dataset.steps):
            raise UserError(
                f"forecast: expected a context and at least one frame after it within the {dataset.steps} steps of "
                f"{dataset.directory}, got context {self.context} and horizon {self.horizon or 'all that follow'}"
            )
        if self.per_task and "task" not in dataset.shapes:
            raise UserError(
                f"forecast.per_task: expected the field 'task' in {dataset.directory}, got {', '.join(dataset.shapes)}"
            )
        device, blank, tally, examples = device_of(model), background(dataset), Tally(), {}
        generator = torch.Generator(device).manual_seed(self.seed)
        batches = evaluation_batches(
            dataset,
            self.split,
            self.sequences,
            self.batch_size,
            shots=self.shots,
            context_seed=self.context_seed,
        )
        for k, batch in enumerate(batches):
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
            tasks = batch.task if self.per_task else None
            for baseline, group in ((False, answers), (True, trivial)):
                for method, frames in group.items():
                    self._score(tally, method, frames, truth, scored, tasks, baseline=baseline)
            if k == 0:
                n, before = self.shown, video[: self.shown, : self.context]
                examples = {"video/truth": video[:n, : self.context + horizon], "context": torch.tensor(self.context)}
                examples["video/mean"] = torch.cat([before, answers["mean"][0, :n]], 1)
                for i in range(min(2, self.samples)):
                    examples[f"video/sample-{i + 1}"] = torch.cat([before, answers["sample"][i, :n]], 1)
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    def _score(
        self,
        tally: Tally,
        method: str,
        frames: Tensor,
        truth: Tensor,
        scored: Tensor,
        tasks: Tensor | None,
        *,
        baseline: bool,
    ) -> None:
        """Add the errors of one method, averaged over its samples [s, b, t, c, h, w]."""
        over = {"horizon": truth.shape[1]}
        by_step, by_sequence = self._measure(frames, truth, scored)
        for metric, (errors, counted) in by_step.items():
            values = errors.mean(0)
            for step in range(truth.shape[1]):
                one, ahead = slice(step, step + 1), {"steps ahead": step + 1}
                tally.add(method, metric, ahead, values[:, one], counted[:, one], baseline=baseline)
            self._add(tally, method, f"{metric}_mean", over, values, counted, tasks, baseline)
        for metric, (scores, counted, setting) in by_sequence.items():
            self._add(tally, method, metric, over | setting, scores.mean(0), counted, tasks, baseline)

    @staticmethod
    def _add(
        tally: Tally,
        method: str,
        metric: str,
        condition: dict[str, Any],
        values: Tensor,
        counted: Tensor,
        tasks: Tensor | None,
        baseline: bool,
    ) -> None:
        """Add a summary, over everything and for each task."""
        tally.add(method, metric, condition, values, counted, baseline=baseline)
        for task in () if tasks is None else tasks.unique().tolist():
            mine = tasks == task
            tally.add(method, metric, condition | {"task": task}, values[mine], counted[mine], baseline=baseline)

    def _measure(
        self, frames: Tensor, truth: Tensor, scored: Tensor
    ) -> tuple[dict[str, tuple[Tensor, Tensor]], dict[str, tuple[Tensor, Tensor, dict[str, float]]]]:
        """Return metric -> (error of every frame [s, b, t], which count), metric -> (score of every sequence [s, b], ...).

        What counts is decided by the truth alone: an answer that is not a number is an error, not a gap.
        """
        by_step: dict[str, tuple[Tensor, Tensor]] = {}
        by_sequence: dict[str, tuple[Tensor, Tensor, dict[str, float]]] = {}
        asked = set(self.metrics)
        if "wrong_pixels" in asked:
            by_step["wrong_pixels"] = wrong_pixels(frames, truth), scored
        if "mse" in asked:
            by_step["mse"] = squared_error(frames, truth), scored
        if "normalised_mse" in asked:
            lit = ~normalised_mse(truth, truth, scored).isnan()
            by_sequence["normalised_mse"] = normalised_mse(frames, truth, scored), lit, {}
        times = {
            "valid_prediction_time": valid_prediction_time,
            "valid_prediction_time_last": valid_prediction_time_last,
        }
        for name in sorted(times.keys() & asked):
            share = times[name](frames, truth, self.threshold, scored)
            by_sequence[name] = share, scored.any(1), {"threshold": self.threshold}
        if asked & {"centroid_distance", "valid_prediction_distance"}:
            distance = centroid_distance(frames, truth)
            visible = scored & ~distance[0].isnan()
            if "centroid_distance" in asked:
                by_step["centroid_distance"] = distance, visible
            if "valid_prediction_distance" in asked:
                share = valid_prediction_distance(distance, truth.shape[-2], self.lost, scored)
                by_sequence["valid_prediction_distance"] = share, visible.any(1), {"limit": self.lost}
        return by_step, by_sequence
