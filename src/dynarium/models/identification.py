"""What the models that identify systems share: checked inputs and outputs, scales, windows, the loss.

A system's inputs u_t are ``SequenceBatch.action``, its outputs y_t ``SequenceBatch.observation``; y_t may depend on u_1 .. u_t.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.objectives.likelihoods import gaussian_log_likelihood
from dynarium.types import SequenceBatch

Normalisation = Literal["context", "none", "whole-trajectory-leak"]
ConfigT = TypeVar("ConfigT", bound=Any)
Answer = tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"] | None]
"""Means of outputs, and their standard deviations where the model has any."""

LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION = -9.0, 3.0


def check_counts(config: Any, *names: str) -> None:
    """Raise a UserError that names the first of these options that is below 1."""
    for name in names:
        if getattr(config, name) < 1:
            raise UserError(f"model.{name}: expected at least 1, got {getattr(config, name)}")


def check_sizes(config: Any, *names: str) -> None:
    """Raise a UserError that names the first of these options that is below 1, or a dropout outside [0, 1)."""
    check_counts(config, *names)
    if not 0 <= config.dropout < 1:
        raise UserError(f"model.dropout: expected a probability in [0, 1), got {config.dropout}")


def check_range_of(config: Any, name: str) -> None:
    """Raise a UserError unless ``least_<name>``, where given, is between 1 and ``<name>``."""
    least, most = getattr(config, f"least_{name}"), getattr(config, name)
    if least is not None and not 1 <= least <= most:
        raise UserError(f"model.least_{name}: expected 1 .. {most}, got {least}")


def check_noise_of(config: Any) -> None:
    """Raise a UserError unless ``context_noise`` is a finite number of at least 0."""
    if not 0 <= config.context_noise < float("inf"):
        raise UserError(f"model.context_noise: expected a number of at least 0, got {config.context_noise}")


def check_lags_of(config: Any) -> None:
    """Raise a UserError unless ``lags`` is at least 0."""
    if config.lags < 0:
        raise UserError(f"model.lags: expected at least 0, got {config.lags}")


def fitted_to_signals(config: ConfigT, shapes: dict[str, tuple[int, ...]], model: str) -> ConfigT:
    """Return the configuration with the numbers of ``inputs`` and ``outputs`` of data of these shapes.

    Raises:
        UserError: The data has no ``action`` or no ``observation``.
    """
    for name in ("action", "observation"):
        if name not in shapes:
            raise UserError(f"{model} needs the field {name!r}; the data has {', '.join(shapes) or 'no fields'}")
    return replace(config, inputs=shapes["action"][-1], outputs=shapes["observation"][-1])


def signals(
    batch: SequenceBatch, inputs: int, outputs: int, like: Tensor
) -> tuple[Float[Tensor, "b t a"], Float[Tensor, "b t p"], Bool[Tensor, "b t"] | None]:
    """Return inputs (0 past the end), outputs (0 where hidden) and which steps are observed (``None``: all).

    The signals have type and device of ``like``.

    Raises:
        UserError: A field is missing, has another number of channels, or the two have different lengths.
    """
    u, y = batch.action, batch.observation
    if u is None or y is None:
        name = "action" if u is None else "observation"
        raise UserError(
            f"{name}: wanted to identify a system from; the batch has {', '.join(batch.present()) or 'no fields'}"
        )
    for name, value, channels in (("action", u, inputs), ("observation", y, outputs)):
        if value.shape[-1] != channels:
            raise UserError(f"{name}: {channels} channels wanted, got {value.shape[-1]}")
    if u.shape[1] != y.shape[1]:
        raise UserError(f"action: as many steps as the {y.shape[1]} of the observation wanted, got {u.shape[1]}")
    seen = batch.observed()
    u, y = u.to(like), y.to(like)
    if seen is None:
        return u, y, None
    # Nothing of a hidden output or of a step past the end enters the network: whatever it holds, NaN included, cannot matter.
    if batch.length is not None:
        u = torch.where(
            (torch.arange(u.shape[1], device=u.device) < batch.length[:, None].to(u.device))[..., None], u, 0
        )
    return u, torch.where(seen[..., None], y, 0), seen


def lagged(x: Float[Tensor, "b t d"], lags: int, patch: int = 1) -> Float[Tensor, "b m w d"]:
    """Return patches of ``patch`` steps, one after the other, each with the ``lags`` before it; before the first there is 0."""
    return F.pad(x, (0, 0, lags, 0)).unfold(1, patch + lags, patch).transpose(2, 3)


def check_finite(**values: Tensor) -> None:
    """Raise a UserError that names the first of these signals that is not finite and the step where it is not."""
    for name, value in values.items():
        bad = (~value.isfinite()).flatten(2).any(2)
        if bool(bad.any()):
            sequence, step = (int(x) for x in bad.nonzero()[0])
            raise UserError(f"{name}: finite numbers wanted, got NaN or infinity in sequence {sequence} at step {step}")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Mean and standard deviation of the channels of each sequence; of steps too where they run along with time."""

    mean: Float[Tensor, "b #t p"]
    deviation: Float[Tensor, "b #t p"]

    def standardise(self, x: Float[Tensor, "b t p"]) -> Float[Tensor, "b t p"]:
        """Return ``(x - mean) / deviation``."""
        return (x - self.mean) / self.deviation

    def restore(self, x: Float[Tensor, "b t p"]) -> Float[Tensor, "b t p"]:
        """Return ``mean + deviation x``."""
        return self.mean + self.deviation * x


def scale_of(x: Float[Tensor, "b t p"], seen: Bool[Tensor, "b t"] | None = None) -> Scale:
    """Return the scale of what is seen of each sequence; a channel that does not vary keeps deviation 1."""
    weight = torch.ones_like(x[..., :1]) if seen is None else seen[..., None].to(x)
    n = weight.sum(1, keepdim=True).clamp(min=1)
    mean = (weight * x).sum(1, keepdim=True) / n
    deviation = ((weight * (x - mean).square()).sum(1, keepdim=True) / n).sqrt()
    return Scale(mean=mean, deviation=_varying(deviation, mean))


def running_scale_of(x: Float[Tensor, "b t p"], seen: Bool[Tensor, "b t"] | None = None) -> Scale:
    """Return, at every step, the scale of what was seen up to and including it (by prefix sums, in double precision)."""
    wide = x.double()
    weight = torch.ones_like(wide[..., :1]) if seen is None else seen[..., None].double()
    n = weight.cumsum(1).clamp(min=1)
    mean = (weight * wide).cumsum(1) / n
    square = (weight * wide.square()).cumsum(1) / n
    variance = square - mean.square()
    # The difference of two prefix sums: what remains of equal values is rounding, not variation.
    deviation = torch.where(variance > 1e-12 * square, variance, 0).sqrt()
    return Scale(mean=mean.to(x), deviation=_varying(deviation, mean).to(x))


def _varying(deviation: Tensor, mean: Tensor) -> Tensor:
    return torch.where(deviation > 1e-6 * mean.abs(), deviation, torch.ones_like(deviation))


def unit_scale(x: Float[Tensor, "b t p"]) -> Scale:
    """Return the scale that leaves signals as they are."""
    return Scale(mean=torch.zeros_like(x[:, :1]), deviation=torch.ones_like(x[:, :1]))


def gaussian_head(raw: Float[Tensor, "b t q"], scale: Scale, probabilistic: bool) -> Answer:
    """Return mean and deviation of outputs from the last layer's numbers: means, and log deviations where probabilistic."""
    if not probabilistic:
        return scale.restore(raw), None
    mean, log_deviation = raw.chunk(2, dim=-1)
    deviation = log_deviation.clamp(LEAST_LOG_DEVIATION, MOST_LOG_DEVIATION).exp()
    return scale.restore(mean), scale.deviation * deviation


def prediction_loss(
    answer: Answer, y: Float[Tensor, "b t p"], unit: Float[Tensor, "b 1 p"], seen: Bool[Tensor, "b t"] | None = None
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Return the mean squared error of what is seen, or its mean negative log-likelihood in nats, with both named.

    Errors are counted in ``unit``, the deviations of the whole trajectory: it weighs sequences, no prediction sees it.
    """
    mean, deviation = answer
    error = (mean - y) / unit
    weight = torch.ones_like(error[..., :1]) if seen is None else seen[..., None].to(error)
    total = (weight.sum() * error.shape[-1]).clamp(min=1)
    squared = (weight * error.square()).sum() / total
    if deviation is None:
        return squared, {"mse": squared.detach()}
    log_likelihood = gaussian_log_likelihood(error, torch.zeros_like(error), (deviation / unit).square())
    nll = -(weight * log_likelihood).sum() / total
    return nll, {"mse": squared.detach(), "nll": nll.detach()}
