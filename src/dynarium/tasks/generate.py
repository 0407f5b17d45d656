"""Generation: long roll-outs, judged by whether their frames look real and whether things move as they do."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.frames import frame_change, nearest_wrong_pixels
from dynarium.models.capabilities import Forecasts
from dynarium.tasks.baselines import background, hold_last, where_any
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.types import Result

PARTS = 4
REAL_FRAMES = 8192


@dataclass(frozen=True, kw_only=True)
class Generate:
    """Roll-outs far beyond the data's length, where no truth exists to compare with.

    Metrics, for each quarter of the roll-out (``to``: its last frame): ``nearest_wrong_pixels``, the fraction of pixels in
    which a frame differs from the most similar training frame, and ``frame_change_gap``, how far the mean absolute change
    of a pixel per step lies from that of training frames. Rows: ``stochastic`` and ``deterministic``; ``data``, what
    frames of this split score (the bound), and the trivial ``blank`` and ``hold-last`` (which never move).

    Attributes:
        steps: Frames to generate.
        context: First frames that are given.
        split: Split whose first frames are given.
        sequences: Roll out so many sequences.
        batch_size: Sequences at a time.
        shown: Sequences kept for pictures.
        seed: Seed of the noise.
    """

    steps: int = 80
    context: int = 4
    split: str = "test"
    sequences: int = 128
    batch_size: int = 64
    shown: int = 6
    seed: int = 0

    @property
    def name(self) -> str:
        """The task's name."""
        return "generate"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Roll out and compare with the data.

        Raises:
            UserError: The model cannot forecast, or actions would be needed beyond the data's.
        """
        need(model, Forecasts, self.name)
        if "action" in dataset.shapes:
            raise UserError(
                "generate: the dataset has actions, and there are none beyond its end; ask forecast instead"
            )
        if not 1 <= self.context < dataset.steps or self.steps < PARTS:
            raise UserError(
                f"generate: expected a context below {dataset.steps} and at least {PARTS} steps, "
                f"got context {self.context} and steps {self.steps}"
            )
        device, blank = device_of(model), background(dataset)
        real, usual_change = self._real(dataset)
        generator = torch.Generator(device).manual_seed(self.seed)
        tally, examples = Tally(), {}
        for k, batch in enumerate(evaluation_batches(dataset, self.split, self.sequences, self.batch_size)):
            video, known = frames_of(batch), known_steps(batch)
            given, _ = cut(batch.to(device), self.context)
            before, seen = video[:, : self.context], known[:, : self.context]
            last = where_any(seen, hold_last(before, seen)[:, -1:], blank)
            rolled = {
                "stochastic": model.forecast(given, self.steps, generator=generator)[0].cpu(),
                "deterministic": model.forecast(given, self.steps)[0].cpu(),
            }
            spans = [slice(p * self.steps // PARTS, (p + 1) * self.steps // PARTS) for p in range(PARTS)]
            for method, frames in rolled.items():
                change = frame_change(torch.cat([last, frames], 1))
                for span in spans:
                    scores = self._scores(frames[:, span], change[:, span], real, usual_change)
                    self._add(tally, method, [span], scores)
            self._add(tally, "data", spans, self._scores(video, frame_change(video), real, usual_change, known))
            for method, frames in (("blank", blank.expand(len(video), 1, *blank.shape)), ("hold-last", last)):
                scores = self._scores(frames, torch.zeros(len(video), 1), real, usual_change)
                self._add(tally, method, spans, scores, baseline=True)
            if k == 0:
                examples |= {f"video/{m}": torch.cat([before, f], 1)[: self.shown] for m, f in rolled.items()}
                examples["context"] = torch.tensor(self.context)
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    @staticmethod
    def _scores(
        frames: Tensor, change: Tensor, real: Tensor, usual_change: float, known: Tensor | None = None
    ) -> dict[str, tuple[Tensor, Tensor | None]]:
        """Return metric -> (values, where they count)."""
        nearest = nearest_wrong_pixels(frames.flatten(0, 1), real).unflatten(0, frames.shape[:2])
        moved = torch.ones_like(change) if known is None else (known[:, 1:] & known[:, :-1]).to(change.dtype)
        moves = moved.sum(1, keepdim=True)
        gap = ((change * moved).sum(1, keepdim=True) / moves.clamp(min=1) - usual_change).abs()
        return {"nearest_wrong_pixels": (nearest, known), "frame_change_gap": (gap, moves > 0)}

    @staticmethod
    def _add(
        tally: Tally,
        method: str,
        spans: list[slice],
        scores: dict[str, tuple[Tensor, Tensor | None]],
        *,
        baseline: bool = False,
    ) -> None:
        for span in spans:
            for metric, (values, counted) in scores.items():
                tally.add(method, metric, {"to": span.stop}, values, counted, baseline=baseline)

    @staticmethod
    def _real(dataset: Dataset) -> tuple[Tensor, float]:
        """Return training frames, and how much they change per step."""
        split = "train" if "train" in dataset.schema.splits else next(iter(dataset.schema.splits))
        n = min(dataset.size(split), -(-REAL_FRAMES // dataset.steps))
        batch = dataset.batch(split, range(n))
        video, known = frames_of(batch), known_steps(batch)
        return video[known], float(frame_change(video)[known[:, 1:] & known[:, :-1]].mean())
