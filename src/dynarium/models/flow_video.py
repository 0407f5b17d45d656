"""Video prediction by flow matching (Lipman et al. 2023, arXiv:2210.02747): the next frame is carried from noise to its place.

    x^tau = (1 - tau) e + tau x_{t+1},   e ~ N(0, I)
    v     = (end(x^tau, tau; x_{t-k+1} .. x_t, a_t) - x^tau) / (1 - tau)
    loss  = |v - (x_{t+1} - e)|^2 / (c h w),   tau ~ U(0, 1)

A sample is the end of dx = v dtau from x = e, in Euler steps; the next frame follows from it and the frames before. Where
the flow ends is the answer of a small U-Net on patches, which sees the last k frames beside x: frames are simpler than
noise, which a network that gave v itself would have to let through. Pixels are scaled to [-1, 1].
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import fitted_to_frames, leading_actions
from dynarium.models.video import (
    FRAMES_AT_ONCE,
    check_batch,
    check_positive,
    held_frames,
    leading_into,
    numbers_of_actions,
)
from dynarium.nn.flow_unet import FlowUNet
from dynarium.types import SequenceBatch

LEAST_REST = 0.1
"""The rest of the way, 1 - tau, is taken for no less than this."""


@dataclass(frozen=True, kw_only=True)
class FlowVideoConfig:
    """Options of the flow-matching predictor.

    Attributes:
        frame: (channels, height, width), sides multiples of 2 ``patch``; taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        memory: Number k of last frames that are seen; before the first frame stands the first frame.
        width: Channels of the U-Net.
        patch: Side of the patches that it works on.
        steps: Euler steps of a sample.
        actions: Whether the action that leads into the frame is known.
    """

    frame: tuple[int, int, int] = (1, 64, 64)
    control: int = 0
    memory: int = 3
    width: int = 64
    patch: int = 4
    steps: int = 10
    actions: Literal["none", "raw"] = "none"

    def __post_init__(self) -> None:
        check_positive(self, "memory", "patch", "steps")
        if self.width < 2 or self.width % 2:
            raise UserError(f"model.width: expected an even number, got {self.width}")
        if any(side % (2 * self.patch) for side in self.frame[1:]):
            wanted = f"sides that are multiples of {2 * self.patch} wanted (2 model.patch)"
            raise UserError(f"model.frame: {wanted}, got {self.frame[1]}x{self.frame[2]}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "FlowVideoConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``, or frames of another side.
        """
        return fitted_to_frames(self, shapes, "flow-video")

    def build(self) -> "FlowVideo":
        """Create the model.

        Raises:
            UserError: Actions are wanted and the data has none.
        """
        return FlowVideo(self)


class FlowVideo(nn.Module):
    """The flow-matching predictor. See ``FlowVideoConfig`` for its options and the module for the model."""

    def __init__(self, config: FlowVideoConfig) -> None:
        super().__init__()
        self.config, c = config, config.frame[0]
        u = numbers_of_actions(config.actions, config.control)
        self.end = FlowUNet(c, config.memory * c, u, config.width, config.patch)

    # ---- the parts -------------------------------------------------------------------------------------------------

    def _fields(self, batch: SequenceBatch) -> tuple[Tensor, Tensor | None]:
        """Return the frames in [-1, 1], and which are observed."""
        x, mask = held_frames(batch, self.config.frame, "flow-video")
        return 2 * x - 1, mask

    def past(self, x: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b t e h w"]:
        """Return, of every step, its frame and those before it that are seen, the latest last."""
        k = self.config.memory
        padded = torch.cat([x[:, :1].expand(-1, k - 1, -1, -1, -1), x], 1)
        return torch.cat([padded[:, i : i + x.shape[1]] for i in range(k)], 2)

    def _inputs(self, action: Tensor | None, like: Tensor, steps: int) -> Float[Tensor, "b s a"]:
        if self.config.actions == "none":
            return like.new_zeros(len(like), steps, 0)
        return leading_into(action, steps, self.config.control, like.dtype)

    def velocity(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, " b"], past: Float[Tensor, "b e h w"], u: Tensor
    ) -> Float[Tensor, "b c h w"]:
        """Return the velocity of the flow at x."""
        return (self.end(x, time, past, u) - x) / (1 - time).clamp(min=LEAST_REST)[:, None, None, None]

    def carried(
        self, x: Float[Tensor, "b c h w"], past: Float[Tensor, "b e h w"], u: Float[Tensor, "b a"], first: int = 0
    ) -> Float[Tensor, "b c h w"]:
        """Return where the flow carries x in its Euler steps from number ``first`` on."""
        n = self.config.steps
        for i in range(first, n):
            x = x + self.velocity(x, torch.full((len(x),), i / n, device=x.device, dtype=x.dtype), past, u) / n
        return x

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean squared error of the velocities of all frames but the first. In eval mode the noise is fixed.

        Raises:
            UserError: The batch lacks a field or is too short.
        """
        x, mask = self._fields(batch)
        check_batch(x, compared=False)
        b, t = x.shape[:2]
        generator = None if self.training else torch.Generator(x.device).manual_seed(0)
        target = x[:, 1:].flatten(0, 1)
        noise = torch.randn(target.shape, generator=generator, device=x.device, dtype=x.dtype)
        time = torch.rand(len(target), generator=generator, device=x.device, dtype=x.dtype)
        at = time[:, None, None, None]
        past = self.past(x[:, :-1]).flatten(0, 1)
        u = self._inputs(batch.action, x, t - 1).flatten(0, 1)
        v = self.velocity((1 - at) * noise + at * target, time, past, u)
        error = (v - (target - noise)).square().mean((1, 2, 3)).unflatten(0, (b, t - 1))
        loss = error.mean() if mask is None else (error * mask[:, 1:]).sum() / mask[:, 1:].sum().clamp(min=1)
        return loss, {"velocity_error": loss.detach()}

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def reconstruct(
        self, batch: SequenceBatch, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c h w"]:
        """Return each frame mixed half and half with noise, zero without a generator, and carried from there to the end.

        The first frame, which nothing predicts, is returned as it is.
        """
        x, _ = self._fields(replace(batch, mask=None, length=None))
        (b, t), half = x.shape[:2], self.config.steps // 2
        target = x[:, 1:].flatten(0, 1)
        noise = torch.zeros_like(target)
        if generator is not None:
            noise = torch.randn(target.shape, generator=generator, device=x.device, dtype=x.dtype)
        start = noise + half / self.config.steps * (target - noise)
        u = self._inputs(batch.action, x, t - 1).flatten(0, 1)
        frames = self.carried(start, self.past(x[:, :-1]).flatten(0, 1), u, half).unflatten(0, (b, t - 1))
        return ((torch.cat([x[:, :1], frames], 1) + 1) / 2).clamp(0, 1)

    @torch.no_grad()
    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> Float[Tensor, "s b f c h w"]:
        """Predict frame after frame; the noise is drawn, times ``temperature``, or zero without a generator.

        Raises:
            UserError: The context lacks a field.
        """
        x, _ = self._fields(context)
        actions = None if self.config.actions == "none" else leading_actions(context.action, action, horizon)
        u = self._inputs(actions, x, horizon)
        different = samples if generator is not None else 1
        seen = x[:, -self.config.memory :]
        shape = (different, len(x), horizon, *x.shape[2:])
        noise = x.new_zeros(()).expand(shape)
        if generator is not None:
            noise = temperature * torch.randn(shape, generator=generator, device=x.device, dtype=x.dtype)

        def continued(part: Tensor) -> Tensor:
            """Return the forecasts that belong to the noise of some of the samples."""
            s = len(part)
            frames, known = (y.expand(s, *y.shape).flatten(0, 1) for y in (seen, u))
            part = part.flatten(0, 1)
            for i in range(horizon):
                past = self.past(frames)[:, -1]
                frame = self.carried(part[:, i], past, known[:, i]).clamp(-1, 1)
                frames = torch.cat([frames, frame[:, None]], 1)
            return (frames[:, -horizon:] + 1) / 2

        parts = [continued(part) for part in noise.split(max(1, FRAMES_AT_ONCE // len(x)))]
        return torch.cat(parts).unflatten(0, (different, len(x))).expand(samples, *[-1] * 5)
