"""Does a learned prior know when chance strikes? What a model believes, step by step, around bounces that none can foretell."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.frames import squared_error
from dynarium.metrics.roc import clustered_auc
from dynarium.models.capabilities import Forecasts, ForeseesChance
from dynarium.objectives.gaussians import gaussian_kl
from dynarium.tasks.baselines import hold_last
from dynarium.tasks.common import Tally, cut, data_record, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.types import Result, Row, SequenceBatch

FIELD = "bounce"
LAGS = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Bounces:
    """Beliefs and errors against the steps since a chance bounce, and whether the beliefs tell that there is one.

    A prior that knows the world widens where chance will strike (Denton & Fergus 2018, section 4.1), and the posterior then
    departs from it, as only it has seen what happened. Rows, for each ``offset`` in steps from a bounce:

    - ``prior_deviation``, the standard deviation of the prior, averaged over the latent's dimensions;
    - ``kl``, the divergence of the posterior from the prior in nats a step;
    - ``mse`` of the ``forecast`` of the means from the context alone, against the first bounce that it cannot know, and of
      the trivial ``copy-last``.

    The first two count bounces that no other precedes within ``window`` steps, up to the next one, and steps after the
    context. ``bounce_auc`` is the chance that prior deviation or KL is larger at a step of a bounce than at one without
    (0.5: says nothing), for each ``lag``. Lag 0: the bounce happens on the way into the step; lag 1: on the way into the step
    before. Where a world stops what meets a wall there, as the first law of moving digits does, the new velocity only shows
    a step later: then lag 1 is when chance is seen. Steps at which both happen count for neither. Trivial row: ``constant``.
    A bound, where the state is stored: ``wall-nearness``, how near anything truly was to the edge of where it can be one step
    before.

    A model without latents has only the rows of its forecast.

    Attributes:
        context: First frames that are given.
        window: Largest offset.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
    """

    context: int = 5
    window: int = 5
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 16

    def __post_init__(self) -> None:
        for name in ("context", "window", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"bounces.{name}: expected at least 1, got {getattr(self, name)}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "bounces"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Align what the model believes with the bounces.

        Raises:
            UserError: The model tells no beliefs, the sequences are too short, or the dataset does not say when chance struck.
        """
        need(model, ForeseesChance, self.name)
        if self.context >= dataset.steps:
            raise UserError(
                f"bounces.context: expected less than the {dataset.steps} steps of {dataset.directory}, got {self.context}"
            )
        device, tally, start = device_of(model), Tally(), 0
        believed: dict[str, list[Tensor]] = {}
        events: list[tuple[Tensor, Tensor]] = []
        for batch in evaluation_batches(dataset, self.split, self.sequences, self.batch_size, needs=("video", FIELD)):
            read = dataset.read(self.split, range(start, start + len(batch)), fields=[FIELD])[FIELD]
            bounce = torch.from_numpy(read).reshape(len(batch), -1).bool()
            start += len(batch)
            known = known_steps(batch)
            judged = known.clone()
            judged[:, : self.context] = False
            events.append((bounce, judged))
            series = _beliefs(model, batch.to(device), self.context)
            offsets = _isolated(bounce, self.window)
            for metric, values in series.items():
                method = metric.replace("_", "-")
                believed.setdefault(method, []).append(values)
                self._align(tally, method, metric, values, offsets, judged)
            nearness = _nearness(dataset, batch)
            if series and nearness is not None:
                believed.setdefault("wall-nearness", []).append(nearness)
            if isinstance(model, Forecasts):
                first = _from(bounce, self.context - 1)
                for method, errors in self._errors(model, batch.to(device)).items():
                    self._align(tally, method, "mse", errors, first, judged, baseline=method == "copy-last")
        rows = (*tally.rows(), *_detection(believed, events))
        protocol = {
            "context": self.context,
            "window": self.window,
            "clips": start,
            "split": self.split,
            "dataset": data_record(dataset),
            "uncertainty": "standard error of the mean over clips; of an AUC clustered by clip",
        }
        return Result(task=self.name, rows=rows, examples=self._curves(rows), protocol=protocol)

    def _align(
        self,
        tally: Tally,
        method: str,
        metric: str,
        values: Float[Tensor, "b t"],
        offsets: Int[Tensor, "b t"],
        judged: Bool[Tensor, "b t"],
        *,
        baseline: bool = False,
    ) -> None:
        for offset in range(-self.window, self.window + 1):
            counted = judged & (offsets == offset)
            tally.add(method, metric, {"offset": offset}, values, counted, baseline=baseline)

    def _errors(self, model: Forecasts, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t"]]:
        """Return the squared error of every frame after the context; zero, which is not counted, before it."""
        video, known = frames_of(batch), known_steps(batch)
        given, rest = cut(batch, self.context)
        truth = video[:, self.context :]
        last = hold_last(video[:, : self.context].cpu(), known[:, : self.context].cpu())[:, -1:].to(truth)
        answers = {
            "forecast": model.forecast(given, truth.shape[1], action=rest.action)[0],
            "copy-last": last.expand_as(truth),
        }
        found = {method: squared_error(frames, truth).cpu() for method, frames in answers.items()}
        return {method: torch.nn.functional.pad(errors, (self.context, 0)) for method, errors in found.items()}

    def _curves(self, rows: tuple[Row, ...]) -> dict[str, Tensor]:
        """Return each series of the model by offset, NaN where there is no such step."""
        offsets = torch.arange(-self.window, self.window + 1)
        curves = {"bounce/offset": offsets}
        for row in rows:
            if "offset" in row.condition and not row.baseline:
                curve = curves.setdefault(f"bounce/{row.metric}", torch.full((len(offsets),), math.nan))
                curve[int(row.condition["offset"]) + self.window] = row.value
        return curves


def _beliefs(model: Any, batch: SequenceBatch, context: int) -> dict[str, Float[Tensor, "b t"]]:
    """Return deviation of the prior and KL of every step, zero at the first; nothing of a model without latents."""
    beliefs = model.beliefs(batch, context=context)
    if beliefs is None:
        return {}
    found = {
        "prior_deviation": (0.5 * beliefs.prior_log_variance).exp().mean(-1),
        "kl": gaussian_kl(*beliefs).sum(-1),
    }
    return {metric: torch.nn.functional.pad(values.float().cpu(), (1, 0)) for metric, values in found.items()}


def _isolated(bounce: Bool[Tensor, "b t"], window: int) -> Int[Tensor, "b t"]:
    """Return the offset of every step from a bounce that no other precedes within ``window`` steps; ``window`` + 1: none.

    Steps after such a bounce belong to it until the next one; those before, up to ``window``.
    """
    b, t = bounce.shape
    steps, none = torch.arange(t).expand(b, t), window + 1
    past = torch.where(bounce, steps, -none - t)
    latest = past.cummax(1).values  # the last bounce up to each step
    before = torch.nn.functional.pad(latest[:, :-1], (1, 0), value=-none - t)
    isolated = bounce & (steps - before > window)
    lone = torch.where(isolated, steps, -none - t).cummax(1).values
    after = torch.where(lone == latest, steps - lone, none)
    coming = torch.where(isolated, steps, 2 * t + none).flip(1).cummin(1).values.flip(1)
    ahead = coming - steps
    offsets = torch.where((ahead > 0) & (ahead <= window), -ahead, after)
    return torch.where(offsets > window, none, offsets)


def _from(bounce: Bool[Tensor, "b t"], start: int) -> Int[Tensor, "b t"]:
    """Return the offset of every step from the first bounce at ``start`` or later; a large number where there is none."""
    t = bounce.shape[1]
    late = bounce[:, start:]
    first = torch.where(late.any(1), start + late.to(torch.uint8).argmax(1), -2 * t)
    return torch.arange(t) - first[:, None]


def _nearness(dataset: Dataset, batch: SequenceBatch) -> Float[Tensor, "b t"] | None:
    """Return the negative distance of anything to the end of its range one step before, from the true states."""
    spec = dataset.schema.fields.get("state")
    if spec is None or batch.state is None:
        return None
    places = [
        i for i, name in enumerate(spec.names) if name[:1] in ("x", "y") and name[1:2] in (" ", "", *"0123456789")
    ]
    if not places or not {"min", "max"} <= spec.statistics.keys():
        return None
    low, high = (torch.tensor(spec.statistics[key], dtype=torch.float64)[places] for key in ("min", "max"))
    at = batch.state[..., places].double()
    distance = torch.minimum(at - low, high - at).amin(-1)
    return -torch.nn.functional.pad(distance[:, :-1], (1, 0))


def _detection(believed: dict[str, list[Tensor]], events: list[tuple[Tensor, Tensor]]) -> list[Row]:
    """Return how well each series tells steps of bounces from others."""
    if not believed:
        return []
    bounce, judged = (torch.cat(column) for column in zip(*events, strict=True))
    before = torch.nn.functional.pad(bounce[:, :-1], (1, 0))
    scores = {method: torch.cat(parts) for method, parts in believed.items()}
    scores["constant"] = torch.zeros(bounce.shape)
    quiet = judged & ~bounce & ~before
    rows = []
    for method, score in scores.items():
        for lag, happened in zip(LAGS, (bounce & ~before, before & ~bounce), strict=True):
            value, error, n = clustered_auc(score, judged & happened, quiet)
            rows.append(
                Row(
                    method=method,
                    metric="bounce_auc",
                    condition={"lag": lag},
                    value=value,
                    standard_error=error,
                    n=n,
                    baseline=method == "constant",
                )
            )
    return rows
