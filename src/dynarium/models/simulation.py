"""How models that simulate from a context are trained and asked: windows, scales, and the two ways in."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.models.identification import (
    Answer,
    Scale,
    check_finite,
    prediction_loss,
    scale_of,
    signals,
    unit_scale,
)
from dynarium.types import SequenceBatch

Predict = Callable[[Tensor, Tensor, Tensor, Tensor | None, tuple[Scale, Scale]], Answer]
"""(u, y, inputs to come, which steps of the context are seen, scales of u and y) -> outputs to come, in their own units."""


def simulation_loss(
    predict: Predict, batch: SequenceBatch, config: Any, like: Tensor, training: bool
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Return the mean squared error of the simulated outputs, or their mean negative log-likelihood in nats.

    In units of the deviation of each sequence's outputs. Training takes a random window of the sequences, with lengths of
    context and future drawn as configured; evaluation the first ``context + horizon`` steps.

    Raises:
        UserError: The sequences are shorter than context and future together.
    """
    u, y, seen = signals(batch, config.inputs, config.outputs, like)
    m = _drawn_between(config.least_context, config.context, training)
    h = _drawn_between(config.least_horizon, config.horizon, training)
    spare = u.shape[1] - m - h
    if spare < 0:
        raise UserError(f"observation: {m} steps of context and {h} to simulate wanted, got {u.shape[1]} in all")
    start = int(torch.randint(spare + 1, ())) if training and spare else 0
    window = slice(start, start + m + h)
    u, y, seen = u[:, window], y[:, window], None if seen is None else seen[:, window]
    seen_past, seen_future = (None, None) if seen is None else (seen[:, :m], seen[:, m:])
    whole = scale_of(y, seen)
    match config.normalisation:
        case "context":
            scales = (scale_of(u[:, :m], seen_past), scale_of(y[:, :m], seen_past))
        case "whole-trajectory-leak":
            scales = (scale_of(u, seen), whole)
        case _:
            scales = (unit_scale(u), unit_scale(y))
    given = with_context_noise(y[:, :m], scales[1].deviation, config.context_noise, training)
    answer = predict(u[:, :m], given, u[:, m:], seen_past, scales)
    return prediction_loss(answer, y[:, m:], whole.deviation, seen_future)


def with_context_noise(
    y: Float[Tensor, "b m p"], unit: Float[Tensor, "b 1 p"], most: float, training: bool
) -> Float[Tensor, "b m p"]:
    """Return outputs with white noise; its deviation is drawn anew for every sequence, up to ``most`` times ``unit``.

    In evaluation the noise is always the same.
    """
    if not most:
        return y
    generator = None if training else torch.Generator(y.device).manual_seed(0)
    options = {"generator": generator, "device": y.device, "dtype": y.dtype}
    level = most * torch.rand(len(y), 1, 1, **options)
    return y + level * unit * torch.randn(y.shape, **options)


@torch.no_grad()
def simulation_from(
    predict: Predict, context: SequenceBatch, action: Tensor, config: Any, like: Tensor, *, bounded: bool
) -> Answer:
    """Return mean and deviation of the outputs that follow the last valid step of each context.

    With "whole-trajectory-leak" the scale is that of the context, too: nobody knows the other one here. ``bounded``: the model
    reads no more than ``config.context`` steps and simulates no more than ``config.horizon``.

    Raises:
        UserError: Inputs or outputs are missing, not finite, of other channels than the model's, or of more steps.
    """
    u, y, seen = signals(context, config.inputs, config.outputs, like)
    if action.shape[-1] != config.inputs:
        raise UserError(f"action: {config.inputs} channels wanted, got {action.shape[-1]}")
    if len(action) != len(u):
        raise UserError(f"action: inputs for the {len(u)} sequences of the context wanted, got {len(action)}")
    query = action.to(like)
    for name, value, most in (("context", u, config.context), ("action", query, config.horizon)):
        if bounded and value.shape[1] > most:
            raise UserError(f"{name}: at most the model's {most} steps wanted, got {value.shape[1]}")
    check_finite(action=u, observation=y)
    check_finite(action=query)
    u, y, seen = _aligned_to_the_end(u, y, seen, context.length)
    scales = (unit_scale(u), unit_scale(y))
    if config.normalisation != "none":
        scales = (scale_of(u, seen), scale_of(y, seen))
    return predict(u, y, query, seen, scales)


def _drawn_between(least: int | None, most: int, training: bool) -> int:
    """Return a whole number between the two, drawn in training; the larger one in evaluation or without a lesser one."""
    return most if least is None or not training else int(torch.randint(least, most + 1, ()))


def _aligned_to_the_end(
    u: Float[Tensor, "b m a"], y: Float[Tensor, "b m p"], seen: Bool[Tensor, "b m"] | None, length: Tensor | None
) -> tuple[Float[Tensor, "b m a"], Float[Tensor, "b m p"], Bool[Tensor, "b m"] | None]:
    """Return the signals moved so that the last valid step of each sequence is the last one; what comes free is hidden."""
    if length is None or seen is None:
        return u, y, seen
    t = u.shape[1]
    source = torch.arange(t, device=u.device) - (t - length.to(u.device))[:, None]
    index = source.clamp(min=0)
    u, y = (x.gather(1, index[..., None].expand_as(x)) for x in (u, y))
    return u, y, seen.gather(1, index) & (source >= 0)
