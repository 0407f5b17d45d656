"""Evidence: how likely a model finds sequences it has not seen, in nats."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.data import Dataset
from dynarium.errors import UserError
from dynarium.models.capabilities import BoundsLikelihood, WeighsSamples
from dynarium.objectives.likelihoods import gaussian_log_likelihood
from dynarium.tasks.common import Tally, device_of, evaluation_batches, frames_of, known_steps, need
from dynarium.types import Result, SequenceBatch


@dataclass(frozen=True, kw_only=True)
class Elbo:
    """Lower bounds of log p(x_1 .. x_T) of a sequence of frames (Fraccaro et al. 2017, section 5.2).

    Rows: ``elbo``, the evidence lower bound, all its terms at weight 1, the mean over ``samples`` draws of what the
    model draws, else what it gives; ``iwae-K``, the importance-weighted bound of K = ``samples`` draws, in expectation at
    least as high (Burda et al. 2016); and two models whose likelihood is exact: ``mean-image``, independent pixels around the
    mean training frame, and ``hold-last``, each frame around the last observed one, the first around the mean.

    All are densities of the pixels, Gaussian of ``pixel_variance`` v: bounds can be compared at one variance only, for no
    model can reach more than ``-(d / 2) log(2 pi v)`` nats for d observed pixels, and that limit moves by d / 2 nats when v
    changes by a factor e. So a model that assumes another v, or other pixels, is refused.

    Attributes:
        samples: Draws of each sequence.
        pixel_variance: Variance of a pixel around what the model expects; frames are in [0, 1].
        split: Split to ask about.
        sequences: Ask about so many sequences; ``None``: all.
        batch_size: Sequences at a time.
        seed: Seed of the draws.
    """

    samples: int = 16
    pixel_variance: float = 0.1
    split: str = "test"
    sequences: int | None = None
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError(f"elbo.samples: expected at least 1, got {self.samples}")
        if self.pixel_variance <= 0:
            raise UserError(f"elbo.pixel_variance: expected a variance above 0, got {self.pixel_variance}")

    @property
    def name(self) -> str:
        """The task's name."""
        return "elbo"

    @torch.no_grad()
    def run(self, model: Any, dataset: Dataset) -> Result:
        """Bound the likelihood of every sequence.

        Raises:
            UserError: The model bounds no likelihood, or that of other pixels.
        """
        need(model, BoundsLikelihood, self.name)
        self._check_pixels(model)
        device, tally, mean = device_of(model), Tally(), mean_frame(dataset)
        condition = {"pixel variance": self.pixel_variance}
        generator = torch.Generator(device).manual_seed(self.seed)
        for batch in evaluation_batches(dataset, self.split, self.sequences, self.batch_size):
            for method, values in self._bounds(model, batch.to(device), generator).items():
                tally.add(method, "log_likelihood_bound", condition, values.cpu())
            video, known = frames_of(batch), known_steps(batch)
            expected = {"mean-image": mean.expand_as(video), "hold-last": last_seen(video, known, mean)}
            for method, frames in expected.items():
                log_p = gaussian_log_likelihood(video, frames, self.pixel_variance).sum((2, 3, 4))
                values = torch.where(known, log_p, 0.0).sum(1)
                tally.add(method, "log_likelihood_bound", condition, values, baseline=True)
        return Result(task=self.name, rows=tally.rows())

    def _bounds(self, model: Any, batch: SequenceBatch, generator: torch.Generator) -> dict[str, Float[Tensor, " b"]]:
        if not isinstance(model, WeighsSamples):
            return {"elbo": model.bound(batch)}
        weights = model.log_weights(batch, self.samples, generator).double()
        tighter = weights.logsumexp(0) - math.log(self.samples)
        return {"elbo": weights.mean(0), f"iwae-{self.samples}": tighter}

    def _check_pixels(self, model: Any) -> None:
        """Raise a UserError if the model says that its density of the pixels is another one."""
        config = getattr(model, "config", None)
        likelihood, variance = (getattr(config, name, None) for name in ("likelihood", "pixel_variance"))
        if likelihood not in (None, "gaussian"):
            raise UserError(f"task elbo: expected a model with model.likelihood gaussian, got {likelihood}")
        if variance not in (None, self.pixel_variance):
            raise UserError(
                f"task elbo: expected a model with model.pixel_variance {self.pixel_variance}, got {variance}; "
                "bounds at different variances cannot be compared"
            )


def mean_frame(dataset: Dataset, sequences: int = 512) -> Float[Tensor, "c h w"]:
    """Return the mean of training frames; of the first split where none is called train."""
    split = "train" if "train" in dataset.schema.splits else next(iter(dataset.schema.splits))
    batch = dataset.batch(split, range(min(sequences, dataset.size(split))))
    return frames_of(batch)[known_steps(batch)].mean(0)


def last_seen(
    video: Float[Tensor, "b t c h w"], known: Tensor, first: Float[Tensor, "c h w"]
) -> Float[Tensor, "b t c h w"]:
    """Return for every step the last observed frame before it; ``first`` where there is none."""
    held, frames = first.expand_as(video[:, 0]), []
    for t in range(video.shape[1]):
        frames.append(held)
        held = torch.where(known[:, t, None, None, None], video[:, t], held)
    return torch.stack(frames, 1)
