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
from dynarium.tasks.origin import Origin, actions_of, sequences_of, without_mask
from dynarium.types import Result, Row

Event = Literal["none", "teleport", "brightness", "colour"]


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """Prediction errors of one step in latent space when something happens that the actions do not explain.

    The surprise at step t is the mean squared difference of ``embed(x_t)`` and ``imagine(embed(x_t-1), a_t-1)``. At one step of
    every sequence an event begins: ``teleport``, from there on the film and the actions of another sequence; ``brightness``,
    all frames are darker by a factor; ``colour``, the channels change places; ``none``, for comparison. (Margoni et al. 2024
    on the paradigm; arXiv 2603.19312 asks latent world models so.) Whoever sees where things are is surprised by the
    teleport more than by the light. In a scene that differs between sequences, a teleport changes the scene as well.

    Metrics: ``surprise_auc``, the chance that the surprise at the event exceeds one before it, of the same and of all other
    sequences, with ``_low`` and ``_high`` the bounds of a 95 % interval over sequences; ``surprise_ratio``, the mean at the
    event over the mean before. Rows: ``latent`` (the model), and the trivial ``copy-last`` (the latent stays as it was) and
    ``pixels`` (the frame does).

    Attributes:
        events: What happens.
        at: The first step of it; ``None``: the middle one.
        factor: By which brightness changes.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all of a dataset, 1000 of a world.
        batch_size: Sequences at a time; another sequence is one of these.
    """

    events: tuple[Event, ...] = ("none", "teleport", "brightness", "colour")
    at: int | None = None
    factor: float = 0.5
    split: str = "test"
    sequences: int | None = 1000
    batch_size: int = 128

    @property
    def name(self) -> str:
        """The task's name."""
        return "surprise"

    @torch.no_grad()
    def run(self, model: Any, dataset: Origin) -> Result:
        """Let it happen, and compare. ``dataset`` may be a world or an ``OnlineSource`` as well.

        Raises:
            UserError: The model does not imagine, the data have no actions, or an option is out of range.
        """
        need(model, Imagines, self.name)
        device = device_of(model)
        found: dict[tuple[str, Event], list[Tensor]] = {}
        at = 0
        for batch in sequences_of(dataset, self.split, self.sequences, self.batch_size):
            action = actions_of(without_mask(batch, self.name), self.name).cpu()
            video = frames_of(batch).cpu()
            if len(video) < 2:
                continue  # a sequence by itself has no other to become
            at = self._step(video.shape[1])
            for event in self.events:
                if event == "colour" and video.shape[2] == 1:
                    continue
                frames, actions = self._violated(video, action, event, at)
                for method, errors in _surprises(model, frames.to(device), actions.to(device), at).items():
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

    def _violated(self, video: Tensor, action: Tensor, event: Event, at: int) -> tuple[Tensor, Tensor]:
        """Return frames and actions in which the event begins at step ``at``."""
        before, after = video[:, :at], video[:, at:]
        if event == "teleport":
            changed = after.roll(1, 0), torch.cat([action[:, :at], action[:, at:].roll(1, 0)], 1)
        elif event == "brightness":
            changed = (after * self.factor).clamp(0, 1), action
        elif event == "colour":
            changed = after.roll(1, 2), action
        else:
            changed = after, action
        return torch.cat([before, changed[0]], 1), changed[1]


def _surprises(model: Any, video: Tensor, action: Tensor, at: int) -> dict[str, Tensor]:
    """Return method -> errors [b, at] of the steps 1 .. ``at``."""
    video, action = video[:, : at + 1], action[:, :at]
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
