"""Probing: does a representation know the state?"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.regression import Estimate, max_correlation, r2_of_sequences
from dynarium.models.capabilities import Encodes
from dynarium.tasks.common import device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.tasks.regressors import Regressor, linear_regressor, mlp_regressor
from dynarium.types import Result, Row

PIXEL_SIDE = 16
"""Frames are averaged down to this side before they are read as plain numbers."""

HELD_OUT = 10
"""Without a validation split, one training sequence in so many chooses when the network stops instead of training it."""

GROUPS = 10
"""Groups of sequences that the jackknife leaves out in turn."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Features and states of the sequences of a split, [b, t, .] each, and which steps of them are known [b, t]."""

    features: dict[str, Tensor]
    state: Tensor
    known: Tensor

    def part(self, chosen: Tensor) -> "Sample":
        """Return some of the sequences."""
        features = {name: values[chosen] for name, values in self.features.items()}
        return Sample(features=features, state=self.state[chosen], known=self.known[chosen])

    def rows(self, name: str) -> tuple[Tensor, Tensor]:
        """Return the features [m, d] and the states [m, n] of the known steps."""
        return self.features[name][self.known], self.state[self.known]

    def read(self, name: str, regressor: Regressor) -> Tensor:
        """Return the states [b, t, n] that a regressor reads off the features; 0 at unknown steps."""
        states = torch.zeros_like(self.state)
        states[self.known] = regressor(self.features[name][self.known])
        return states

    def varies(self) -> Tensor:
        """Return which dimensions of the state are not constant."""
        state = self.state[self.known]
        return state.amax(0) > state.amin(0)


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Regression of the physical state on a representation: fitted on the training split, scored on another.

    Metrics: ``r2`` for each dimension of the state (NaN for one that is constant in either split), and over those that
    vary their mean, ``r2_uniform``, and ``r2_variance_weighted``, with standard errors over sequences
    (``metrics/regression.py``); and ``max_correlation``, how well single coordinates of the representation are single
    dimensions of the state, without any fit (its standard error is that of a jackknife over groups of sequences). Rows:
    ``<representation>-linear`` (ridge regression) and ``<representation>-mlp``, and the trivial ``mean`` (the training
    states' mean: 0, or less by what the splits differ) and ``pixels-linear`` (the frame itself, averaged down to 16 x 16).
    All that a probe knows comes from the training split; of a validation split only when the network stops.

    Attributes:
        representation: Which of those that the model gives; ``None``: its default.
        probes: Which regressions.
        dims: Dimensions of the state; ``None``: all.
        window: Read the state off so many successive steps, up to its own: velocities are not in a single frame.
        ridge: Ridge of the linear regressions, as a share of the variance of a feature.
        shots: Whole sequences of the same task and split that the model is shown beside each sequence.
        context_seed: Seed of which these are.
        train_sequences: Fit on so many sequences; ``None``: all.
        split: Split to score on.
        sequences: Score on so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        seed: Seed of the network's first weights and of the order of its rows.
    """

    representation: str | None = None
    probes: tuple[Literal["linear", "mlp"], ...] = ("linear", "mlp")
    dims: tuple[int, ...] | None = None
    window: int = 1
    ridge: float = 1e-3
    shots: int = 0
    context_seed: int = 0
    train_sequences: int | None = 1000
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 128
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name: ``probe``, with the representation, the window and the shots where they are not the default."""
        window = "" if self.window == 1 else f"window-{self.window}"
        shots = f"{self.shots}-shot" if self.shots else ""
        return "-".join(word for word in ("probe", self.representation, window, shots) if word)

    def run(self, model: Any, dataset: Dataset) -> Result:
        """Encode, fit, score.

        Raises:
            UserError: The model cannot encode or has no such representation, the dataset has no states or no training
                split beside the one that is asked about, or an option is out of range.
        """
        need(model, Encodes, self.name)
        dims = self._dims(dataset)
        test = self._sample(model, dataset, self.split, self.sequences, dims)
        train = self._sample(model, dataset, "train", self.train_sequences, dims)
        name = next(iter(train.features))
        answers: dict[str, Tensor] = {}
        if "linear" in self.probes:
            answers[f"{name}-linear"] = test.read(name, linear_regressor(*train.rows(name), self.ridge))
        if "mlp" in self.probes:
            fitting, choosing = self._divided(model, dataset, train, dims)
            network = mlp_regressor(*fitting.rows(name), *choosing.rows(name), seed=self.seed)
            answers[f"{name}-mlp"] = test.read(name, network)
        trivial = {
            "mean": train.state[train.known].mean(0).expand_as(test.state),
            "pixels-linear": test.read("pixels", linear_regressor(*train.rows("pixels"), self.ridge)),
        }
        kept = train.varies() & test.varies()
        rows: list[Row] = []
        for baseline, group in ((False, answers), (True, trivial)):
            for method, prediction in group.items():
                rows += _r2_rows(method, prediction, test, dims, kept, baseline)
        for baseline, source in ((False, name), (True, "pixels")):
            estimate = _max_correlation(test, source, kept)
            rows.append(_row(source, "max_correlation", {"dimensions": int(kept.sum())}, estimate, baseline))
        return Result(task=self.name, rows=tuple(rows))

    def _dims(self, dataset: Dataset) -> list[int]:
        """Check the options against the data, and return the dimensions of the state that are asked for."""
        shapes = dataset.shapes
        if "state" not in shapes:
            raise UserError(f"probe: expected the field 'state' in {dataset.directory}, got {', '.join(shapes)}")
        if self.split == "train" or "train" not in dataset.schema.splits:
            raise UserError(
                f"probe.split: expected another split than 'train', on which the probes are fitted, in "
                f"{dataset.directory}, got {self.split!r} of {', '.join(dataset.schema.splits)}"
            )
        n = shapes["state"][-1]
        if self.dims is not None and not (self.dims and all(0 <= k < n for k in self.dims)):
            raise UserError(f"probe.dims: expected dimensions of the state, 0 to {n - 1}, got {self.dims}")
        if not 1 <= self.window <= dataset.steps:
            raise UserError(f"probe.window: expected 1 to the {dataset.steps} steps of the data, got {self.window}")
        if self.ridge < 0:
            raise UserError(f"probe.ridge: expected at least 0, got {self.ridge}")
        return list(range(n) if self.dims is None else self.dims)

    @torch.no_grad()
    def _sample(self, model: Any, dataset: Dataset, split: str, sequences: int | None, dims: list[int]) -> Sample:
        """Encode the first sequences of a split; the features are the representation and ``pixels``, in windows."""
        device, parts = device_of(model), []
        asked = evaluation_batches(
            dataset, split, sequences, self.batch_size, shots=self.shots, context_seed=self.context_seed
        )
        for batch in asked:
            assert batch.state is not None
            given, known = model.encode(batch.to(device)), known_steps(batch)
            name = next(iter(given)) if self.representation is None else self.representation
            if name not in given:
                raise UserError(f"probe.representation: expected one of {', '.join(given)}, got {name!r}")
            video = frames_of(batch)
            side = min(PIXEL_SIDE, *video.shape[-2:])
            pixels = adaptive_avg_pool2d(video.flatten(0, 1), side).unflatten(0, video.shape[:2]).flatten(2)
            features = {name: given[name].float().cpu(), "pixels": pixels}
            if not bool(features[name][known].isfinite().all()):
                raise UserError(f"probe: the representation {name!r} has values that are not finite")
            windows = {k: x.unfold(1, self.window, 1).flatten(2) for k, x in features.items()}
            state = batch.state[:, self.window - 1 :, dims].double()
            parts.append((windows, state, known.unfold(1, self.window, 1).all(-1)))
        windows, state, known = zip(*parts, strict=True)
        features = {name: torch.cat([part[name] for part in windows]) for name in windows[0]}
        sample = Sample(features=features, state=torch.cat(state), known=torch.cat(known))
        if int(sample.known.any(1).sum()) < 2:
            raise UserError(
                f"probe: expected at least 2 sequences of {split!r} with {self.window} known steps in a row"
            )
        return sample

    def _divided(self, model: Any, dataset: Dataset, train: Sample, dims: list[int]) -> tuple[Sample, Sample]:
        """Return what the network is fitted to, and what chooses when it stops."""
        if "val" in dataset.schema.splits and self.split != "val":
            limit = None if self.train_sequences is None else max(2, self.train_sequences // 4)
            return train, self._sample(model, dataset, "val", limit, dims)
        usable = train.part(train.known.any(1))
        held_out = torch.arange(len(usable.known)) % HELD_OUT == min(HELD_OUT, len(usable.known)) - 1
        return usable.part(~held_out), usable.part(held_out)


def _r2_rows(method: str, prediction: Tensor, test: Sample, dims: list[int], kept: Tensor, baseline: bool) -> list[Row]:
    """Return R2 of every dimension, then the two means over those that vary."""
    used, counted = test.known.any(1), test.known[..., None]
    mean = test.state[test.known].mean(0)
    error, deviation = (
        torch.where(counted, (test.state - guess).square(), 0.0).sum(1)[used] for guess in (prediction, mean)
    )
    none = Estimate(value=math.nan, standard_error=math.nan, n=0)
    rows = []
    for k, dim in enumerate(dims):
        estimate = r2_of_sequences(error[:, [k]], deviation[:, [k]]) if kept[k] else none
        rows.append(_row(method, "r2", {"dimension": dim}, estimate, baseline))
    means = {
        "r2_uniform": r2_of_sequences(error[:, kept], deviation[:, kept]),
        "r2_variance_weighted": r2_of_sequences(error[:, kept].sum(1, True), deviation[:, kept].sum(1, True)),
    }
    over = {"dimensions": int(kept.sum())}
    return rows + [_row(method, metric, over, estimate, baseline) for metric, estimate in means.items()]


def _max_correlation(test: Sample, name: str, kept: Tensor) -> Estimate:
    """Return the matched correlation of features and states, and its error by leaving out groups of sequences in turn."""
    test = test.part(test.known.any(1))
    n = len(test.known)
    groups = min(GROUPS, n)
    value, *without = (
        max_correlation(features, state[:, kept])
        for features, state in (
            test.rows(name),
            *(test.part(torch.arange(n) % groups != g).rows(name) for g in range(groups)),
        )
    )
    spread = torch.tensor(without, dtype=torch.float64).var(correction=0)
    return Estimate(value=value, standard_error=float(((groups - 1) * spread).sqrt()), n=n)


def _row(method: str, metric: str, condition: dict[str, Any], estimate: Estimate, baseline: bool) -> Row:
    return Row(
        method=method,
        metric=metric,
        condition=condition,
        value=estimate.value,
        standard_error=estimate.standard_error,
        n=estimate.n,
        baseline=baseline,
    )
