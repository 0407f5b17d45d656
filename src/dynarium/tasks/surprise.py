"""Violation of expectation: does what cannot happen surprise the model, and only that?"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from dynarium.errors import UserError
from dynarium.metrics.estimate import ratio_estimate
from dynarium.metrics.roc import auc
from dynarium.models.capabilities import Imagines
from dynarium.tasks.common import device_of, frames_of, need
from dynarium.tasks.origin import Origin, actions_of, sequences_of, without_mask, world_of
from dynarium.types import Result, Row, SequenceBatch

Event = Literal["none", "teleport", "brightness", "colour"]


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Prediction errors of one step in latent space when something happens that the actions do not explain.

    The surprise at step t is the mean squared difference of ``embed(x_t)`` and ``imagine(embed(x_t-1), a_t-1)``. At one step of
    every sequence something happens: ``teleport``, the frame is that of another sequence; ``brightness``, the frame is darker
    by a factor; ``colour``, what the actions move is darker by the factor, and nothing else: of several channels, another
    colour, in worlds that draw it by itself (``foreground``); ``none``, for comparison. Nothing but the teleport moves
    anything. (Margoni et al. 2024 on the paradigm; arXiv 2603.19312 asks latent world models so.) Whoever sees where things
    are is surprised by the teleport more than by the light. In a scene that differs between sequences, a teleport changes the
    scene as well.

    Metrics: ``surprise_auc``, the chance that the surprise at the event exceeds one before it, of the same and of all other
    sequences, with ``_low`` and ``_high`` the bounds of a 95 % interval over sequences; ``surprise_ratio``, the mean at the
    event over the mean before. Rows: ``latent`` (the model), and the trivial ``copy-last`` (the latent stays as it was) and
    ``pixels`` (the frame does).

    Attributes:
        events: What happens; ``None``: all that can be shown.
        at: The step of it; ``None``: the middle one.
        factor: By which brightness and colour change.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all of a dataset, 1000 of a world.
        batch_size: Sequences at a time; another sequence is one of these.
    """

    events: tuple[Event, ...] | None = None
    at: int | None = None
    factor: float = 0.5
    split: str = "test"
    sequences: int | None = 1000
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("sequences", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 2:
                raise UserError(f"surprise.{name}: expected at least 2 sequences, got {value}")
        if self.factor < 0:
            raise UserError(f"surprise.factor: expected a number of at least 0, got {self.factor}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "surprise"

    @torch.no_grad()
    def run(self, model: Any, dataset: Origin) -> Result:
        """Let it happen, and compare. ``dataset`` may be a world or an ``OnlineSource`` as well.

        Raises:
            UserError: The model does not imagine, the data have no actions, an event cannot be shown, or an option is out of
                range.
        """
        need(model, Imagines, self.name)
        device = device_of(model)
        found: dict[tuple[str, Event], list[Tensor]] = {}
        at = 0
        for batch in sequences_of(dataset, self.split, self.sequences, self.batch_size):
            action = actions_of(without_mask(batch, self.name), self.name)
            video = frames_of(batch)
            if len(video) < 2:
                continue  # a sequence by itself has no other to become
            at = self._step(video.shape[1])
            video, action = video[:, : at + 1], action[:, :at].to(device)
            for event, last in self._happened(dataset, batch, video[:, -1:], at).items():
                frames = torch.cat([video[:, :-1], last], 1)
                for method, errors in _surprises(model, frames.to(device), action).items():
                    found.setdefault((method, event), []).append(errors.cpu())
        if not found:
            raise UserError("surprise: expected at least 2 sequences")
        rows = [row for key, parts in found.items() for row in _rows(*key, at, torch.cat(parts))]
        return Result(task=self.name, rows=tuple(rows))

    def _step(self, steps: int) -> int:
        at = steps // 2 if self.at is None else self.at
        if not 2 <= at < steps:
            raise UserError(f"surprise.at: expected 2 to {steps - 1}, as one step is expected before it, got {at}")
        return at

    def _happened(self, origin: Origin, batch: SequenceBatch, last: Tensor, at: int) -> dict[Event, Tensor]:
        """Return for each event the frame [b, 1, c, h, w] at step ``at`` where it happens, instead of ``last``."""
        happened: dict[Event, Tensor] = {"none": last, "teleport": last.roll(1, 0)}
        happened["brightness"] = (last * self.factor).clamp(0, 1)
        moving = _moving(origin, batch, at) if self.events is None or "colour" in self.events else ""
        if isinstance(moving, Tensor):
            happened["colour"] = (last + (self.factor - 1) * moving.to(last)).clamp(0, 1)
        elif self.events is not None and "colour" in self.events:
            raise UserError(f"surprise.events: 'colour' cannot be shown: {moving}")
        return happened if self.events is None else {event: happened[event] for event in self.events}


def _moving(origin: Origin, batch: SequenceBatch, at: int) -> Tensor | str:
    """Return what the actions move, alone, at a step [b, 1, c, h, w]; or why nobody draws that."""
    assert batch.video is not None
    if batch.video.shape[2] == 1:
        return "frames have one channel, in which another colour is another brightness"
    if batch.state is None:
        return "the data have no states, and so nothing says where to draw it"
    try:
        world: Any = world_of(origin, "surprise")
    except UserError as error:
        return str(error)
    if not hasattr(world, "foreground"):
        return f"{type(world).__name__} does not draw by itself what the actions move (its foreground)"
    return world.foreground(batch.state[:, at : at + 1])


def _surprises(model: Any, video: Tensor, action: Tensor) -> dict[str, Tensor]:
    """Return method -> errors [b, t - 1] of all steps but the first."""
    encoded = model.embed(video)
    start = encoded[:, :-1]
    imagined = model.imagine(start.flatten(0, 1), action.flatten(0, 1)[:, None])[:, 0].unflatten(0, start.shape[:2])
    return {
        "latent": (imagined - encoded[:, 1:]).square().mean(-1),
        "copy-last": encoded.diff(dim=1).square().mean(-1),
        "pixels": video.diff(dim=1).square().mean((-1, -2, -3)),
    }


def _rows(method: str, event: Event, at: int, errors: Tensor) -> list[Row]:
    """Return how the last step's errors stand out from those before."""
    if not bool(errors.isfinite().all()):
        raise UserError("surprise: the model's latents are not finite")
    last, before = errors[:, -1].double(), errors[:, :-1].double()
    value, error, low, high = auc(last, before)
    ratio, ratio_error, n = ratio_estimate(last, before.mean(1))
    numbers = {
        "surprise_auc": (value, error),
        "surprise_auc_low": (low, math.nan),
        "surprise_auc_high": (high, math.nan),
        "surprise_ratio": (ratio, ratio_error),
    }
    return [
        Row(
            method=method,
            metric=metric,
            condition={"event": event, "at": at},
            value=number,
            standard_error=spread,
            n=n,
            baseline=method != "latent",
        )
        for metric, (number, spread) in numbers.items()
    ]
