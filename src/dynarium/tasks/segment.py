"""Segmentation: which of several dynamics acts, and when?"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.segmentation import matched
from dynarium.models.capabilities import Segments
from dynarium.ssm.kmeans import kmeans, nearest_centre
from dynarium.tasks.common import Tally, device_of, evaluation_batches, known_steps, need
from dynarium.tasks.fields import vector_field_arrays
from dynarium.types import Result

TRAIN_SEQUENCES = 200
"""Training sequences that the clusters of the baselines are of."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Recovery of the modes of a switching system, without having been told any.

    Metric: ``accuracy``, the share of steps whose mode is right under the one matching of names, over all sequences, that
    makes it highest. Rows: ``viterbi`` (the most likely path), and the trivial ``majority`` (one mode throughout),
    ``kmeans`` (as many clusters of single observations as there are true modes) and ``kmeans-step`` (clusters of an
    observation and its change since the step before). Only known steps count. A model that has a vector field leaves it,
    beside the true one, for the report.

    Attributes:
        shifts: The mode that a model says led into step t + shift is held against the true mode of step t. Worlds differ in
            whether a mode leads into its step (0) or out of it (1).
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        shown: Sequences whose modes are kept.
        seed: Seed of the clusters.
    """

    shifts: tuple[int, ...] = (0,)
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    shown: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shifts or min(self.shifts) < 0:
            raise UserError(f"segment.shifts: expected numbers of at least 0, got {self.shifts}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "segment"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Segment, match, count.

        Raises:
            UserError: The model cannot segment, the sequences are too short, or the dataset has no modes or observations.
        """
        need(model, Segments, self.name)
        if max(self.shifts) >= dataset.steps:
            raise UserError(f"segment.shifts: expected less than the {dataset.steps} steps, got {max(self.shifts)}")
        device, paths, observed, truths, knowns = device_of(model), [], [], [], []
        for batch in self._batches(dataset, self.split, self.sequences):
            assert batch.mode is not None and batch.observation is not None
            paths.append(model.segment(batch.to(device)).cpu())
            observed.append(batch.observation.double())
            truths.append(batch.mode.long())
            knowns.append(known_steps(batch))
        path, y, truth, known = (torch.cat(parts) for parts in (paths, observed, truths, knowns))
        y = torch.where(known[..., None], y, 0.0)
        tally, examples = Tally(), {"mode/truth": truth[: self.shown]}
        trivial = {"majority": torch.zeros_like(truth), **self._clusters(dataset, y, int(truth[known].max()) + 1)}
        best = -1.0, path.new_zeros(1)
        for shift in self.shifts:
            for method, found in {"viterbi": path, **trivial}.items():
                moved, wanted = found[:, shift:], truth[:, : truth.shape[1] - shift]
                counted = known[:, : truth.shape[1] - shift]
                names = matched(moved[counted], wanted[counted])
                named = names[moved.clamp(max=len(names) - 1)]
                right = (named == wanted).double()
                condition = {"shift": shift}
                tally.add(method, "accuracy", condition, right, counted, baseline=method != "viterbi")
                if method == "viterbi":
                    examples[f"mode/inferred-shift-{shift}"] = named[: self.shown]
                    best = max(best, (float(right[counted].mean()), names), key=lambda found: found[0])
        examples |= vector_field_arrays(model, dataset, best[1], split=self.split)
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    def _batches(self, dataset: Dataset, split: str, sequences: int | None) -> Any:
        return evaluation_batches(dataset, split, sequences, self.batch_size, needs=("observation", "mode"))

    def _clusters(self, dataset: Dataset, y: Tensor, k: int) -> dict[str, Tensor]:
        """Return the clusters of the steps, by name; their centres are those of training sequences."""
        split = "train" if "train" in dataset.schema.splits else self.split
        batches = list(self._batches(dataset, split, TRAIN_SEQUENCES))
        before = torch.cat([batch.observation.double() for batch in batches])
        known = torch.cat([known_steps(batch) for batch in batches])
        before = torch.where(known[..., None], before, 0.0)
        found = {}
        for name, features in (("kmeans", _places), ("kmeans-step", _places_and_steps)):
            rows = features(before)[known]
            mean, scale = rows.mean(0), rows.std(0, correction=0).clamp(min=1e-12)
            generator = torch.Generator().manual_seed(self.seed)
            _, centres = kmeans((rows - mean) / scale, k, generator)
            found[name] = nearest_centre((features(y) - mean) / scale, centres)
        return found


def _places(y: Tensor) -> Tensor:
    return y


def _places_and_steps(y: Tensor) -> Tensor:
    step = y[:, 1:] - y[:, :-1]
    return torch.cat([y, torch.cat([step[:, :1], step], 1)], -1)
