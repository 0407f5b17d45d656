"""Imputation: hide frames, ask for them, compare on the hidden ones and on all."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.metrics.frames import squared_error, wrong_pixels
from dynarium.models.capabilities import Encodes, Forecasts, Imputes, Reconstructs
from dynarium.nn.frames import as_float
from dynarium.tasks.baselines import background, hold_last, interpolate, where_any
from dynarium.tasks.common import Tally, cut, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.tasks.masks import block_mask, random_mask
from dynarium.types import Result, SequenceBatch, Video

TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, kw_only=True)
class Impute:
    """Imputation of hidden frames (Fraccaro et al. 2017, section 5.1 and figure 3).

    Rows: every estimate the model gives (``smooth``, ``filter``), ``generate`` (deterministic roll-out of the first frames,
    no later observation used), ``reconstruction`` (each true frame through the bottleneck: a bound), and the trivial rows
    ``blank`` (the median training frame), ``hold-last`` and ``interpolate`` (pixelwise, between the observed neighbours). On
    all frames the last two copy what is observed, while the model's estimates of it go through its bottleneck.

    Attributes:
        random_p: Probabilities with which each frame from ``observe_first`` on is hidden.
        block_steps: Lengths of a hidden block right after the first ``observe_first`` frames.
        all_frames_rates: Probabilities with which every frame, the first ones included, is hidden; scored on all frames.
        observe_first: First frames that are always observed.
        hidden: What the model finds in the place of a hidden frame: the frame itself (``kept``; only the mask says that it
            must not be used), ``noise`` (uniform pixels) or ``nan``. A model that uses nothing hidden answers all three
            alike to the last digit; scores are always against the true frames.
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time; larger ones leave the cache of a CPU.
        shown: Sequences kept for pictures, at the random p nearest to 0.5.
        seed: Seed of the masks.
    """

    random_p: tuple[float, ...] = TENTHS
    block_steps: tuple[int, ...] = (1, 3, 5, 7, 9, 11, 13, 15)
    all_frames_rates: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    observe_first: int = 4
    hidden: Literal["kept", "noise", "nan"] = "kept"
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 32
    shown: int = 6
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("random_p", "all_frames_rates"):
            if any(not 0 < p <= 1 for p in getattr(self, name)):
                raise UserError(f"impute.{name}: expected probabilities in (0, 1], got {getattr(self, name)}")
        if self.observe_first < 1:
            raise UserError(f"impute.observe_first: expected at least 1, got {self.observe_first}")

    @property
    def name(self) -> str:
        """The task's name; results with other hidden frames stand beside those with the true ones."""
        return "impute" if self.hidden == "kept" else f"impute-{self.hidden}"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Hide, ask, compare.

        Raises:
            UserError: The model cannot impute, or the sequences are not longer than ``observe_first``.
        """
        need(model, Imputes, self.name)
        if dataset.steps <= self.observe_first:
            raise UserError(
                f"impute.observe_first: expected fewer than the {dataset.steps} steps of the data, got {self.observe_first}"
            )
        imputing: Imputes = model
        device, blank = device_of(model), background(dataset)
        tally, examples = Tally(), {}
        masks = tuple(self._masks(dataset.size(self.split), dataset.steps))
        for k, batch in enumerate(evaluation_batches(dataset, self.split, self.sequences, self.batch_size)):
            truth, known_frames = frames_of(batch), known_steps(batch)
            here = slice(k * self.batch_size, k * self.batch_size + len(batch))
            known = {}
            if isinstance(model, Reconstructs):
                known["reconstruction"] = model.reconstruct(batch.to(device)).cpu()
            rolled = self._rolled_out(model, batch, device)
            for condition, kept in masks:
                mask = kept[here] & known_frames
                video = self._hide(batch.video, mask, seed=self.seed + k)
                hidden = replace(batch, video=video, mask=mask, length=None)
                answers = {name: frames.cpu() for name, frames in imputing.impute(hidden.to(device)).items()} | known
                if rolled is not None and condition["mask"] != "all":
                    answers["generate"] = rolled
                trivial = {
                    "blank": blank.expand_as(truth),
                    "hold-last": where_any(mask, hold_last(truth, mask), blank),
                    "interpolate": where_any(mask, interpolate(truth, mask), blank),
                }
                self._score(tally, condition, truth, mask, known_frames, answers, baseline=False)
                self._score(tally, condition, truth, mask, known_frames, trivial, baseline=True)
                if k == 0 and condition == self._pictured():
                    examples = self._examples(model, hidden.to(device), truth, mask, answers)
        return Result(task=self.name, rows=tally.rows(), examples=examples)

    def _masks(self, n: int, t: int) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Yield every condition with its mask of the whole split, so that no batch size changes what is asked."""
        for p in self.random_p:
            yield {"mask": "random", "p": p}, random_mask(n, t, p, observe_first=self.observe_first, seed=self.seed)
        for steps in self.block_steps:
            if self.observe_first + steps < t:
                yield {"mask": "block", "steps": steps}, block_mask(n, t, steps, observe_first=self.observe_first)
        for p in self.all_frames_rates:
            yield {"mask": "all", "p": p}, random_mask(n, t, p, observe_first=0, seed=self.seed)

    def _hide(self, video: Video | None, mask: Bool[Tensor, "b t"], seed: int) -> Video | None:
        """Put what ``hidden`` asks for in the place of the frames that are not observed."""
        if self.hidden == "kept" or video is None:
            return video
        if self.hidden == "nan":
            video = as_float(video)
            other = torch.full_like(video, torch.nan)
        else:
            noise = torch.rand(video.shape, generator=torch.Generator().manual_seed(seed))
            other = (noise * 256).to(torch.uint8) if video.dtype == torch.uint8 else noise.to(video.dtype)
        return torch.where(mask[..., None, None, None], video, other)

    def _pictured(self) -> dict[str, Any]:
        if self.random_p:
            return {"mask": "random", "p": min(self.random_p, key=lambda p: abs(p - 0.5))}
        return {"mask": "block", "steps": self.block_steps[len(self.block_steps) // 2]} if self.block_steps else {}

    def _rolled_out(self, model: Any, batch: SequenceBatch, device: torch.device) -> Tensor | None:
        """Return the first frames as they are, followed by the deterministic roll-out from them."""
        if not isinstance(model, Forecasts):
            return None
        first, rest = cut(batch.to(device), self.observe_first)
        horizon = rest.video.shape[1]  # pyright: ignore[reportOptionalMemberAccess]
        forecast = model.forecast(first, horizon, action=rest.action)[0].cpu()
        return torch.cat([frames_of(batch)[:, : self.observe_first], forecast], dim=1)

    @staticmethod
    def _score(
        tally: Tally,
        condition: dict[str, Any],
        truth: Tensor,
        mask: Tensor,
        known: Tensor,
        answers: dict[str, Tensor],
        *,
        baseline: bool,
    ) -> None:
        for method, frames in answers.items():
            for metric, values in (
                ("wrong_pixels", wrong_pixels(frames, truth)),
                ("mse", squared_error(frames, truth)),
            ):
                if condition["mask"] != "all":
                    tally.add(method, f"{metric}_missing", condition, values, known & ~mask, baseline=baseline)
                tally.add(method, f"{metric}_all", condition, values, known, baseline=baseline)

    def _examples(
        self, model: Any, hidden: SequenceBatch, truth: Tensor, mask: Tensor, answers: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        n = self.shown
        names = {"generate": "generated"}
        examples = {
            "video/truth": truth[:n],
            "video/observed": truth[:n] * mask[:n, :, None, None, None],
            "mask": mask[:n],
        }
        examples |= {f"video/{names.get(name, name)}": frames[:n] for name, frames in answers.items()}
        if isinstance(model, Encodes):
            for name, values in model.encode(hidden).items():
                examples["weights" if name == "weights" else f"latent/{name}"] = values[:n].cpu()
        if hidden.state is not None:
            examples["state"] = hidden.state[:n].cpu()
        return examples
