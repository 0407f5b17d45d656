"""What the world models that plan share: frames, actions and states in units of their spread, measured before training."""

from collections.abc import Iterable
from itertools import islice

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.frames import as_float
from dynarium.types import SequenceBatch

BATCHES = 16
"""So many training batches are measured."""


class Normalization(nn.Module):
    """Means and spreads of training batches, kept with the weights.

    Frames are standardised channel by channel, states dimension by dimension. Actions are divided by the root of their
    mean square: an action of zero stays zero.
    """

    def __init__(self, channels: int, actions: int, states: int = 0) -> None:
        super().__init__()
        self.pixel_mean = nn.Buffer(torch.zeros(channels))
        self.pixel_std = nn.Buffer(torch.ones(channels))
        self.action_scale = nn.Buffer(torch.ones(actions))
        self.state_mean = nn.Buffer(torch.zeros(states)) if states else None
        self.state_std = nn.Buffer(torch.ones(states)) if states else None

    @torch.no_grad()
    def measure(self, batches: Iterable[SequenceBatch], model: str) -> None:
        """Measure the first batches.

        Raises:
            UserError: The batches lack a field.
        """
        frames, actions, states = [], [], []
        for batch in islice(batches, BATCHES):
            if batch.video is not None:
                x = as_float(batch.video).double()
                frames.append(torch.stack([x.mean((0, 1, 3, 4)), x.square().mean((0, 1, 3, 4))]))
            if batch.action is not None:
                actions.append(batch.action.double().square().mean((0, 1)))
            if batch.state is not None and self.state_mean is not None:
                s = batch.state.double()
                states.append(torch.stack([s.mean((0, 1)), s.square().mean((0, 1))]))
        if not frames:
            raise UserError(f"{model}: no training batch with the field 'video' to measure")
        self._set(frames, self.pixel_mean, self.pixel_std)
        if actions:
            scale = torch.stack(actions).mean(0).sqrt()
            self.action_scale.copy_(torch.where(scale > 0, scale, 1))
        if states and self.state_mean is not None and self.state_std is not None:
            self._set(states, self.state_mean, self.state_std)

    @staticmethod
    def _set(moments: list[Tensor], mean: Tensor, std: Tensor) -> None:
        first, second = torch.stack(moments).mean(0)
        spread = (second - first.square()).clamp(min=0).sqrt()
        mean.copy_(first)
        std.copy_(torch.where(spread > 1e-6, spread, 1))

    def frames(self, video: Shaped[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """Return standardised frames."""
        return (as_float(video) - self.pixel_mean[:, None, None]) / self.pixel_std[:, None, None]

    def pixels(self, frames: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t c h w"]:
        """Return frames in [0, 1] of standardised ones."""
        return (frames * self.pixel_std[:, None, None] + self.pixel_mean[:, None, None]).clamp(0, 1)

    def actions(self, action: Shaped[Tensor, "b t a"]) -> Float[Tensor, "b t a"]:
        """Return actions in units of their root mean square."""
        return action.to(self.action_scale.dtype) / self.action_scale

    def states(self, state: Shaped[Tensor, "b t n"]) -> Float[Tensor, "b t n"]:
        """Return standardised states."""
        assert self.state_mean is not None and self.state_std is not None
        return (state - self.state_mean).to(self.state_mean.dtype) / self.state_std
