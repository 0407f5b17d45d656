"""What a model can be asked. A task asks by capability, never by class name.

Every model is an ``nn.Module`` with ``loss``; the other protocols are optional. All answers are deterministic unless
a generator is given, are computed without gradients, and never depend on the content of what ``batch.mask`` hides.
Frames in an answer are floating point in [0, 1].
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dynarium.models.video import Beliefs
from dynarium.types import SequenceBatch


@runtime_checkable
class Model(Protocol):
    """Anything that can be trained."""

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the scalar to minimise and named scalars to log.

        In training mode ``step`` drives the schedules. In eval mode the loss is deterministic, ignores ``step`` and is
        comparable over the whole training (schedules at their end), so that the best checkpoint can be chosen by it.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """Estimates its parameters from data, in closed form or by EM, before the trainer takes its first step."""

    def prepare(self, batches: Iterable[SequenceBatch], seed: int = 0) -> list[float]:
        """Set the parameters by one pass of training batches; return what was maximised, one value an iteration."""
        ...


@runtime_checkable
class Encodes(Protocol):
    """Gives representations of every step."""

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return named representations, e.g. ``{"a": ..., "z_smooth": ..., "weights": ...}``; the first is the default."""
        ...


@runtime_checkable
class Reconstructs(Protocol):
    """Passes every frame through its bottleneck."""

    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return the reconstruction of each frame from itself (a bound for imputation, so the mask is ignored)."""
        ...


@runtime_checkable
class Imputes(Protocol):
    """Fills in frames that ``batch.mask`` hides."""

    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return named estimates of all frames, e.g. ``{"smooth": ..., "filter": ...}``; the first is the default."""
        ...


@runtime_checkable
class Forecasts(Protocol):
    """Continues sequences."""

    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f c h w"]:
        """Return ``samples`` continuations of ``horizon`` frames.

        Without a generator: the deterministic roll-out of the means (then all samples are equal).
        """
        ...


@runtime_checkable
class ForecastsObservations(Protocol):
    """Continues sequences of sensors that are not images."""

    def forecast_observations(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f p"]:
        """Return ``samples`` continuations of ``horizon`` observations; without a generator those of the means."""
        ...


@runtime_checkable
class Identifies(Protocol):
    """Identifies a system by reading its inputs ``action`` and outputs ``observation``, and simulates it from there on."""

    def simulate(
        self, context: SequenceBatch, action: Shaped[Tensor, "b f a"]
    ) -> tuple[Float[Tensor, "b f p"], Float[Tensor, "b f p"] | None]:
        """Return mean and standard deviation of the outputs that follow the context under these inputs.

        ``None`` in place of the deviation: the model has none. Output t may depend on the inputs up to and including t.
        """
        ...


@runtime_checkable
class PredictsNext(Protocol):
    """Predicts every output of a sequence from the past."""

    def predict_next(self, batch: SequenceBatch) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"] | None]:
        """Return mean and deviation of every output given inputs up to its step and outputs before it."""
        ...


@runtime_checkable
class Segments(Protocol):
    """Tells which of several dynamics acts at every step."""

    def segment(self, batch: SequenceBatch) -> Int[Tensor, "b t"]:
        """Return the most likely modes, in an order of the model's own. Entry t led into step t."""
        ...


@runtime_checkable
class BoundsLikelihood(Protocol):
    """Says how likely sequences are."""

    def bound(self, batch: SequenceBatch) -> Float[Tensor, " b"]:
        """Return log p of what is observed of every sequence, or a lower bound of it, in nats."""
        ...


@runtime_checkable
class HasVectorField(Protocol):
    """Says where its state goes from anywhere."""

    def vector_field(
        self, x: Float[Tensor, "m n"], mode: Int[Tensor, " m"] | None = None
    ) -> tuple[Float[Tensor, "m n"], Int[Tensor, " m"]]:
        """Return the next step from each state of the first representation, and the mode that takes it: the given one."""
        ...


@runtime_checkable
class HasModes(Protocol):
    """Switches between a number of dynamics."""

    def with_modes(self, modes: int) -> torch.nn.Module:
        """Return a fresh model, its parameters not estimated yet, with another number of modes and else the same options."""
        ...


@runtime_checkable
class WeighsSamples(Protocol):
    """Bounds the likelihood by drawing what is hidden, h, from its posterior q."""

    def log_weights(
        self, batch: SequenceBatch, samples: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "s b"]:
        """Return log p(x, h) - log q(h | x) of ``samples`` draws, in nats, x what is observed.

        Their mean is the evidence lower bound, the logarithm of the mean of their exponentials a tighter one (Burda, Grosse
        & Salakhutdinov 2016, eq. 8). What a model integrates out exactly is not drawn.
        """
        ...


@runtime_checkable
class ForeseesChance(Protocol):
    """Says of every frame what it thinks of its latent before and after seeing it."""

    def beliefs(self, batch: SequenceBatch, *, context: int | None = None) -> Beliefs | None:
        """Return prior and posterior of the latents that lead into all frames but the first; ``None``: there are none.

        The prior of a frame after the first ``context`` ones, the given frames, has not seen that frame or a later one. Within
        them it may have. Without ``context`` the given frames are as many as in the model's training.
        """
        ...


@runtime_checkable
class Decodes(Protocol):
    """Draws what its latents look like."""

    def decode(self, z: Float[Tensor, "b t d"]) -> Float[Tensor, "b t c h w"]:
        """Return the frames of latents that were encoded or imagined, in [0, 1].

        Raises:
            UserError: This model was made without a decoder.
        """
        ...


@runtime_checkable
class Imagines(Protocol):
    """Predicts its own encodings under actions, without decoding anything."""

    def embed(self, video: Shaped[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Return the encodings of frames as they were seen."""
        ...

    def imagine(self, start: Float[Tensor, "b d"], action: Shaped[Tensor, "b f a"]) -> Float[Tensor, "b f d"]:
        """Return the open-loop encodings after each action, from the encoding ``start``.

        Actions are those of the data; the model normalises them. Unlike other answers this one lets gradients through, for
        planners that follow them.
        """
        ...
