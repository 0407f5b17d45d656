"""The geometry of a latent space: straight paths, used dimensions, and for how long imagined latents hold."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dynarium.errors import UserError
from dynarium.metrics.straightness import straightness
from dynarium.models.capabilities import Imagines
from dynarium.objectives.collapse import effective_rank
from dynarium.tasks.common import Tally, device_of, need
from dynarium.tasks.origin import Origin, actions_of, sequences_of, without_mask
from dynarium.types import Result, Row

GROUPS = 10
"""Groups of sequences that the jackknife of the effective rank leaves out in turn."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Latents of whole sequences, encoded and imagined from the first frame and the actions; no labels are needed.

    Metrics: ``straightness``, the mean cosine of successive velocities of a path (``metrics/straightness.py``);
    ``effective_rank`` (RankMe, ``objectives/collapse.py``: as it is logged in training) of the latents of all steps as they
    are, so that their mean counts as a direction, with a jackknife error over groups of sequences; and
    ``latent_error``, for each step ahead and as ``latent_error_mean``: the squared distance of an answer from the encoding of
    the frame that came, as a share of the variance of all encodings around their mean: 1 is knowing nothing.

    Rows: ``encoded`` and ``rollout``; of the error ``rollout`` and the trivial ``copy-first`` (the first latent stays),
    ``mean`` (the mean encoding: 1, but for the steps' differences) and ``copy-last`` (the true encoding one step before, which
    sees more than a roll-out does).

    Attributes:
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all of a dataset, 1000 of a world.
        batch_size: Sequences at a time.
    """

    split: str = "test"
    sequences: int | None = 1000
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name in ("sequences", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"geometry.{name}: expected at least 1, got {value}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "geometry"

    @torch.no_grad()
    def run(self, model: Any, dataset: Origin) -> Result:
        """Encode, imagine, measure. ``dataset`` may be a world or an ``OnlineSource`` as well.

        Raises:
            UserError: The model does not imagine, or the data have no actions or too few steps.
        """
        need(model, Imagines, self.name)
        device, parts = device_of(model), []
        for batch in sequences_of(dataset, self.split, self.sequences, self.batch_size):
            action = actions_of(without_mask(batch, self.name), self.name)
            assert batch.video is not None
            if batch.video.shape[1] < 3:
                raise UserError(f"geometry: expected at least 3 steps, got {batch.video.shape[1]}")
            encoded = model.embed(batch.video.to(device))
            imagined = model.imagine(encoded[:, 0], action.to(device))
            parts.append((encoded.float().cpu(), imagined.float().cpu()))
        encoded, imagined = (torch.cat(column) for column in zip(*parts, strict=True))
        if not bool(encoded.isfinite().all() and imagined.isfinite().all()):
            raise UserError("geometry: the model's latents are not finite")
        tally = Tally()
        for method, path in (("encoded", encoded), ("rollout", imagined)):
            straight = straightness(path)
            tally.add(method, "straightness", {"steps": path.shape[1]}, straight, ~straight.isnan())
        _add_errors(tally, encoded, imagined)
        ranks = [_rank_row(method, path) for method, path in (("encoded", encoded), ("rollout", imagined))]
        return Result(task=self.name, rows=tuple(ranks) + tally.rows())


def _add_errors(tally: Tally, encoded: Tensor, imagined: Tensor) -> None:
    """Add the errors of every step ahead, as shares of the variance of all encodings."""
    truth, mean = encoded[:, 1:], encoded.mean((0, 1))
    scale = (encoded - mean).square().sum(-1).mean().clamp(min=1e-30)
    answers = {
        "rollout": imagined,
        "copy-first": encoded[:, :1].expand_as(truth),
        "copy-last": encoded[:, :-1],
        "mean": mean.expand_as(truth),
    }
    for method, answer in answers.items():
        error, trivial = (answer - truth).square().sum(-1) / scale, method != "rollout"
        for step in range(truth.shape[1]):
            tally.add(method, "latent_error", {"steps ahead": step + 1}, error[:, step], baseline=trivial)
        tally.add(method, "latent_error_mean", {"horizon": truth.shape[1]}, error, baseline=trivial)


def _rank_row(method: str, path: Tensor) -> Row:
    """Return the effective rank of a path's latents; its error by leaving out groups of sequences in turn."""
    n, width = len(path), path.shape[-1]
    groups = min(GROUPS, n)
    without = [effective_rank(path[torch.arange(n) % groups != g].flatten(0, 1)) for g in range(groups if n > 1 else 0)]
    spread = torch.tensor([float(rank) for rank in without] or [0.0], dtype=torch.float64).var(correction=0)
    return Row(
        method=method,
        metric="effective_rank",
        condition={"width": width},
        value=float(effective_rank(path.flatten(0, 1))),
        standard_error=float(((groups - 1) * spread).sqrt()),
        n=n,
    )
