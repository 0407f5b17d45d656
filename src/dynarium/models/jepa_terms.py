"""The groups of coefficients that a JEPA's objective is composed of. Each group says what it adds to the loss."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.objectives.contrast import across_sequences, within_trajectory
from dynarium.objectives.gathering import whole_batch
from dynarium.objectives.sigreg import random_directions, sigreg
from dynarium.objectives.vicreg import covariance_penalty, variance_hinge

Samples = Literal["steps", "later-steps", "first-step", "frames"]
"""What statistics are taken over: the batch at each step, at each step but the first, at the first step; or all frames."""

Terms = dict[str, tuple[float, Float[Tensor, ""]]]
"""Named terms with their weights; the loss is the weighted sum."""


@dataclass(frozen=True, kw_only=True)
class VICReg:
    """Variance and covariance of the encodings (Bardes et al. 2022).

    Attributes:
        std: Weight of the variance hinge.
        cov: Weight of the covariance penalty.
        std_over_time: Weight of the variance hinge over the steps of each sequence (Sobal et al. 2025).
        over: What the statistics are taken over.
    """

    std: float = 9.0
    cov: float = 1.0
    std_over_time: float = 0.0
    over: Samples = "later-steps"

    def terms(self, encoding: Float[Tensor, "b t d"], prediction: Float[Tensor, "b f d"], seed: int) -> Terms:
        """Return the weighted terms; the statistics are those of the batch over all processes."""
        z = grouped(whole_batch(encoding), self.over)
        terms = {"std": (self.std, variance_hinge(z)), "cov": (self.cov, covariance_penalty(z))}
        if self.std_over_time:
            terms["std_over_time"] = (self.std_over_time, variance_hinge(encoding))
        return terms


@dataclass(frozen=True, kw_only=True)
class SIGReg:
    """The encodings are pushed towards N(0, I) (Balestriero & LeCun 2025).

    Attributes:
        weight: Weight of the statistic, averaged over the random directions.
        directions: Random directions of a step.
        knots: Points of the quadrature.
        over: What the statistics are taken over.
    """

    weight: float = 0.09
    directions: int = 256
    knots: int = 17
    over: Samples = "steps"

    def __post_init__(self) -> None:
        for name, least in (("directions", 1), ("knots", 2)):
            if getattr(self, name) < least:
                raise UserError(f"model.regularizer.{name}: expected at least {least}, got {getattr(self, name)}")

    def terms(self, encoding: Float[Tensor, "b t d"], prediction: Float[Tensor, "b f d"], seed: int) -> Terms:
        """Return the weighted term. The directions depend on ``seed`` alone: they are the same on all processes."""
        z = grouped(whole_batch(encoding), self.over)
        drawn = random_directions(z.shape[-1], self.directions, torch.Generator().manual_seed(seed), z.device)
        return {"sigreg": (self.weight, sigreg(z, drawn.to(z.dtype), self.knots))}


@dataclass(frozen=True, kw_only=True)
class AcrossSequences:
    """A prediction is told from those of other sequences at the same step: NT-Xent (Chen et al. 2020).

    Attributes:
        weight: Weight of the loss.
        temperature: Divides the similarities.
        normalize: Compare directions instead of dot products.
    """

    weight: float = 1.0
    temperature: float = 1.0
    normalize: bool = False

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def terms(self, encoding: Float[Tensor, "b t d"], prediction: Float[Tensor, "b f d"], seed: int) -> Terms:
        """Return the weighted term; the negatives are those of all processes."""
        views = whole_batch(torch.stack([prediction, encoding[:, 1:]], 1)).permute(1, 2, 0, 3)
        _check_samples(views.shape[2])
        return {"contrast": (self.weight, across_sequences(views[0], views[1], self.temperature, self.normalize))}


@dataclass(frozen=True, kw_only=True)
class WithinTrajectory:
    """A prediction is told from the other steps of its own sequence (Gulati & Nemenman 2026).

    Attributes:
        weight: Weight of the loss.
        temperature: Divides the similarities.
        normalize: Compare directions instead of dot products.
    """

    weight: float = 1.0
    temperature: float = 0.1
    normalize: bool = True

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def terms(self, encoding: Float[Tensor, "b t d"], prediction: Float[Tensor, "b f d"], seed: int) -> Terms:
        """Return the weighted term."""
        value = within_trajectory(prediction, encoding[:, 1:], self.temperature, self.normalize)
        return {"contrast": (self.weight, value)}


Regularizer = VICReg | SIGReg | AcrossSequences | WithinTrajectory
"""What keeps the encodings from collapsing."""


@dataclass(frozen=True, kw_only=True)
class InverseDynamics:
    """The action is read off two consecutive representations.

    Attributes:
        weight: Weight of the mean squared error of the standardised action.
        between: ``encodings``: of (e_t, e_{t+1}) (Sobal et al. 2025). ``rollout``: of (p_t, e_{t+1}) with p_0 = e_0, which
            trains the predictor too (Sobal et al. 2022).
        hidden: Widths of hidden layers; none: linear.
    """

    weight: float = 1.0
    between: Literal["encodings", "rollout"] = "encodings"
    hidden: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Frames are decoded.

    Attributes:
        weight: Weight of the mean squared error of standardised pixels.
        of: ``encodings`` of the frames themselves, or the ``rollout``: the first encoding and all predictions.
        detached: Only the decoder learns from it: pictures of a model that does without reconstruction.
        width: Multiplies the decoder's channels.
    """

    weight: float = 1.0
    of: Literal["encodings", "rollout"] = "encodings"
    detached: bool = False
    width: int = 2

    def __post_init__(self) -> None:
        if self.width < 1:
            raise UserError(f"model.decoding.width: expected at least 1, got {self.width}")


def grouped(z: Float[Tensor, "b t d"], over: Samples) -> Float[Tensor, "g n d"]:
    """Arrange encodings in groups of samples that statistics are taken over.

    Raises:
        UserError: There is one sample in a group.
    """
    if over == "frames":
        return z.flatten(0, 1)[None]
    _check_samples(len(z))
    z = z.transpose(0, 1)
    return {"steps": z, "later-steps": z[1:], "first-step": z[:1]}[over]


def mlp(sizes: tuple[int, ...], bias: bool = True, normalized: bool = True) -> nn.Sequential:
    """Return linear layers of these sizes with batch normalisation and ReLU between them; ``bias`` is the last layer's."""
    if min(sizes) < 1:
        raise UserError(f"model: layers of at least 1 unit wanted, got {sizes}")
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes[:-1]):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if normalized else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1], bias=bias))


def _check_temperature(temperature: float) -> None:
    if not 0 < temperature < math.inf:
        raise UserError(f"model.regularizer.temperature: expected a positive number, got {temperature}")


def _check_samples(n: int) -> None:
    if n < 2:
        raise UserError(
            "training.batch_size: expected at least 2 sequences in every batch, also in the last one of the validation "
            f"split, as model.regularizer compares them, got {n}"
        )
