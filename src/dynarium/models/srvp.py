"""Stochastic latent residual video prediction (SRVP: Franceschi et al. 2020, arXiv:2002.09219).

Unlike in SVG, no predicted frame is encoded again: the state moves by itself, and frames are only read off it.

    y_1 ~ N(0, I),   z_{t+1} ~ N(m(y_t), v(y_t)),   y_{t+1} = y_t + f(y_t, z_{t+1}, a_t)
    x^_t = dec([y_t, w], skips),   w a summary of the context that does not depend on its order

f is integrated in a number of Euler steps a frame, z held. The posterior of y_1 reads the context, that of z_t the frames up to
t, through an LSTM. The loss is that of SVG's scale, from the first frame on:

    loss = sum_t |x^_t - x_t|^2 / (c h w) + beta (KL(y_1) + sum_t KL(z_t)) + lambda mean |f|^2

which, for lambda = 0, is the negative evidence bound for a pixel variance of beta c h w / 2, up to a constant and a factor.
The skip connections are those of the last context frame. The sizes are ours; the posterior of y_1 is an LSTM that runs
backwards over the context instead of a network of a fixed number of frames, so that any context can be asked about.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import fitted_to_frames, leading_actions
from dynarium.models.video import (
    FRAMES_AT_ONCE,
    Backbone,
    Beliefs,
    check_batch,
    check_frames,
    check_positive,
    coders,
    compares,
    decoded_steps,
    draw_weights,
    drawn,
    encoded_steps,
    held_frames,
    leading_into,
    numbers_of_actions,
)
from dynarium.nn.frame_layers import Statistics
from dynarium.nn.lstm import GaussianLSTM
from dynarium.objectives.gaussians import gaussian_kl
from dynarium.objectives.schedules import Constant, Schedule
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class SRVPConfig:
    """Options of the residual latent model.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        backbone: Encoder and decoder: ``dcgan`` (sides 32, 56, 64, 128) or ``vgg`` (64, 128).
        width: Channels of the first stage of the encoder.
        embedding: Dimension of the encodings h.
        state: Dimension of y.
        latent: Dimension of z.
        content: Dimension of w.
        hidden: Units of the networks between these.
        substeps: Euler steps a frame.
        context: First frames of a training sequence that y_1, w and the skip connections are inferred from.
        statistics: What batch normalisation uses outside of training, or ``frame``: group normalisation, as in SVG.
        actions: Whether the state's motion and its prior know the action that leads into the frame.
        beta: Weight of the KL as a function of the step.
        residual: Weight lambda of the mean square of f.
    """

    frame: tuple[int, int, int] = (1, 64, 64)
    control: int = 0
    backbone: Backbone = "dcgan"
    width: int = 64
    embedding: int = 128
    state: int = 20
    latent: int = 20
    content: int = 128
    hidden: int = 256
    substeps: int = 1
    context: int = 5
    statistics: Statistics = "running"
    actions: Literal["none", "raw"] = "none"
    beta: Schedule = Constant(value=1e-4)
    residual: float = 1e-3

    def __post_init__(self) -> None:
        sizes = ("width", "embedding", "state", "latent", "content", "hidden", "substeps", "context")
        check_positive(self, *sizes)
        check_frames(self.frame, self.backbone)
        if self.residual < 0:
            raise UserError(f"model.residual: expected a weight of at least 0, got {self.residual}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SRVPConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``, or frames of another side.
        """
        return fitted_to_frames(self, shapes, "srvp")

    def build(self) -> "SRVP":
        """Create the model.

        Raises:
            UserError: Actions are wanted and the data has none.
        """
        return SRVP(self)


class Motion(NamedTuple):
    """Where the state goes: y of every step, and between any two the residual and what the latent is thought to be."""

    y: Float[Tensor, "b t n"]
    residual: Float[Tensor, "b s n"]
    latents: Beliefs


class SRVP(nn.Module):
    """The residual latent model. See ``SRVPConfig`` for its options and the module for the model."""

    def __init__(self, config: SRVPConfig) -> None:
        super().__init__()
        self.config, h, d, y, z = config, config.embedding, config.hidden, config.state, config.latent
        u = numbers_of_actions(config.actions, config.control)
        read = y + config.content
        self.encoder, self.decoder = coders(config.backbone, config.frame, read, h, config.width, config.statistics)
        self.first = GaussianLSTM(h, y, d, 1)
        self.posterior = GaussianLSTM(h, z, d, 1)
        self.prior = _mlp(y + u, d, 2 * z)
        self.motion = _mlp(y + z + u, d, y)
        self.element = nn.Sequential(nn.Linear(h, d), nn.ReLU())
        self.summary = nn.Sequential(nn.Linear(d, config.content), nn.Tanh())
        self.encoder.apply(draw_weights)
        self.decoder.apply(draw_weights)

    # ---- the parts -------------------------------------------------------------------------------------------------

    def content(self, h: Float[Tensor, "b k d"], mask: Bool[Tensor, "b k"] | None) -> Float[Tensor, "b e"]:
        """Return w of a context: a function of the mean over its observed frames of a function of each."""
        elements = self.element(h)
        if mask is None:
            return self.summary(elements.mean(1))
        weights = mask[..., None].to(h.dtype)
        return self.summary((elements * weights).sum(1) / weights.sum(1).clamp(min=1))

    def start(self, h: Float[Tensor, "b k d"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Return mean and log-variance of y_1, given the context."""
        mean, log_variance, _ = self.first(h.flip(1))
        return mean[:, -1], log_variance[:, -1]

    def prior_of(self, y: Float[Tensor, "*b n"], u: Float[Tensor, "*b a"]) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance of the latent that leads away from y."""
        mean, log_variance = self.prior(torch.cat([y, u], -1)).chunk(2, -1)
        return mean, log_variance

    def moved(self, y: Tensor, z: Tensor, u: Tensor) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Return the next state and the mean residual of its Euler steps."""
        total = torch.zeros_like(y)
        for _ in range(self.config.substeps):
            residual = self.motion(torch.cat([y, z, u], -1)) / self.config.substeps
            y, total = y + residual, total + residual
        return y, total

    def followed(
        self,
        h: Float[Tensor, "b t d"],
        y: Float[Tensor, "b n"],
        u: Float[Tensor, "b s a"],
        noise: Float[Tensor, "b s z"] | float,
        mask: Bool[Tensor, "b t"] | None,
    ) -> Motion:
        """Run the state along the frames; the posterior of a hidden frame's latent is the prior."""
        mean, log_variance, _ = self.posterior(h)
        mean, log_variance = mean[:, 1:], log_variance[:, 1:]
        states, residuals, means, log_variances = [y], [], [], []
        for i in range(mean.shape[1]):
            m, v = mean[:, i], log_variance[:, i]
            if mask is not None:
                seen, (m0, v0) = mask[:, i + 1, None], self.prior_of(y, u[:, i])
                m, v = torch.where(seen, m, m0), torch.where(seen, v, v0)
            z = m + (0.5 * v).exp() * (noise[:, i] if isinstance(noise, Tensor) else noise)
            y, residual = self.moved(y, z, u[:, i])
            for found, value in zip((states, residuals, means, log_variances), (y, residual, m, v), strict=True):
                found.append(value)
        path = torch.stack(states, 1)
        if not residuals:
            nothing = mean.new_zeros(len(mean), 0, y.shape[1])
            return Motion(path, nothing, Beliefs(mean, log_variance, mean, log_variance))
        posterior = torch.stack(means, 1), torch.stack(log_variances, 1)
        return Motion(path, torch.stack(residuals, 1), Beliefs(*posterior, *self.prior_of(path[:, :-1], u)))

    def read_off(
        self, y: Float[Tensor, "b t n"], w: Float[Tensor, "b e"], skips: list[Tensor]
    ) -> Float[Tensor, "b t c h w"]:
        """Return the frames of all states, decoded at once; all read the same skip connections."""
        g = torch.cat([y, w[:, None].expand(-1, y.shape[1], -1)], -1)
        return decoded_steps(self.decoder, g, skips, [0] * y.shape[1])

    def _fields(self, batch: SequenceBatch) -> tuple[Tensor, Tensor | None]:
        return held_frames(batch, self.config.frame, "srvp")

    def _inputs(self, batch: SequenceBatch, h: Tensor) -> Tensor:
        steps = h.shape[1] - 1
        if self.config.actions == "none":
            return h.new_zeros(len(h), steps, 0)
        return leading_into(batch.action, steps, self.config.control, h.dtype)

    def _inferred(
        self,
        x: Tensor,
        batch: SequenceBatch,
        mask: Tensor | None,
        context: int,
        generator: torch.Generator | None,
        noise: float,
    ) -> tuple[Motion, tuple[Tensor, Tensor], Tensor, list[Tensor]]:
        """Return the motion along the frames, mean and log-variance of y_1, w, and the skips of the last context frame."""
        h, skips = encoded_steps(self.encoder, x, context)
        skips = [skip[-len(x) :] for skip in skips]
        with torch.autocast(h.device.type, enabled=False):
            start = self.start(h[:, :context])
            w = self.content(h[:, :context], None if mask is None else mask[:, :context])
            y = start[0] if not noise else drawn(*start, generator)
            shape = (len(x), x.shape[1] - 1, self.config.latent)
            epsilon = torch.randn(shape, generator=generator, device=h.device, dtype=h.dtype) if noise else 0.0
            motion = self.followed(h, y, self._inputs(batch, h), epsilon, mask)
        return motion, start, w, skips

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss, and its terms for each step (mse a pixel, kl in nats).

        In eval mode the noise is fixed and beta is at its end.

        Raises:
            UserError: The batch lacks a field, is too short, or is a single sequence in training.
        """
        config, (x, mask) = self.config, self._fields(batch)
        check_batch(x, compares(config.statistics, self.training))
        t = x.shape[1]
        generator = None if self.training else torch.Generator(x.device).manual_seed(0)
        motion, start, w, skips = self._inferred(x, batch, mask, min(config.context, t - 1), generator, 1.0)
        frames = self.read_off(motion.y, w, skips)
        with torch.autocast(x.device.type, enabled=False):
            error = (frames - x).square().mean((2, 3, 4))
            error = (error if mask is None else error * mask).sum(1).mean()
            nothing = torch.zeros_like(start[0])
            kl = gaussian_kl(*start, nothing, nothing).sum(1).mean() + gaussian_kl(*motion.latents).sum((1, 2)).mean()
            residual = motion.residual.square().mean()
            weight = config.beta(step if self.training else math.inf)
        terms = {"mse": error.detach() / t, "kl": kl.detach() / t, "residual": residual.detach()}
        return error + weight * kl + config.residual * residual, terms

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the states ``y`` at the means of their posterior."""
        x, mask = self._fields(batch)
        return {"y": self._inferred(x, batch, mask, min(self.config.context, x.shape[1]), None, 0.0)[0].y}

    @torch.no_grad()
    def beliefs(self, batch: SequenceBatch, *, context: int | None = None) -> Beliefs:
        """Return posterior and prior of the latents that lead into all frames but the first, the states at their means.

        As a state knows the frames before it, a wide prior means that the model expects chance. But y_1, and through it every
        prior, also knows the first ``context`` frames, by default ``model.context``: only priors after these foresee.

        Raises:
            UserError: The batch lacks a field, or no frame is given.
        """
        x, mask = self._fields(batch)
        given = self.config.context if context is None else context
        if given < 1:
            raise UserError(f"context: expected at least 1 frame, got {given}")
        return self._inferred(x, batch, mask, min(given, x.shape[1]), None, 0.0)[0].latents

    @torch.no_grad()
    def reconstruct(
        self, batch: SequenceBatch, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "b t c h w"]:
        """Return the frames read off the states of the posterior; its means without a generator."""
        x, _ = self._fields(replace(batch, mask=None, length=None))
        noise = 0.0 if generator is None else 1.0
        plain = replace(batch, mask=None, length=None)
        context = min(self.config.context, x.shape[1])
        motion, _, w, skips = self._inferred(x, plain, None, context, generator, noise)
        return self.read_off(motion.y, w, skips)

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
        """Let the state move on from the end of the context and read frames off it; nothing is encoded on the way.

        With a generator y_1 and the latents are drawn, the standard deviation of those to come times ``temperature``;
        without one all are at their means.

        Raises:
            UserError: The context lacks a field.
        """
        x, mask = self._fields(context)
        b, t = x.shape[:2]
        h, skips = encoded_steps(self.encoder, x)
        skips = [skip[-b:] for skip in skips]
        drawing = generator is not None
        different = samples if drawing else 1

        def noise(*shape: int) -> Tensor:
            if not drawing:
                return h.new_zeros(different * b, *shape)
            return torch.randn((different * b, *shape), generator=generator, device=h.device)

        def repeated(part: Tensor) -> Tensor:
            return part.expand(different, *part.shape).flatten(0, 1)

        with torch.autocast(h.device.type, enabled=False):
            start, w = self.start(h), self.content(h, mask)
            mean, log_variance = map(repeated, start)
            y = mean + (0.5 * log_variance).exp() * noise(self.config.state)
            hidden = None if mask is None else repeated(mask)
            given = repeated(self._inputs(context, h))
            y = self.followed(repeated(h), y, given, noise(t - 1, self.config.latent), hidden).y[:, -1]
            following = h.new_zeros(b, horizon, 0)
            if self.config.actions != "none":
                joined = leading_actions(context.action, action, horizon)
                following = leading_into(joined, horizon, self.config.control, h.dtype)
            following, epsilon, states = repeated(following), temperature * noise(horizon, self.config.latent), []
            for i in range(horizon):
                mean, log_variance = self.prior_of(y, following[:, i])
                y, _ = self.moved(y, mean + (0.5 * log_variance).exp() * epsilon[:, i], following[:, i])
                states.append(y)
        # Every sample is read off like a sequence of more steps, which share the skip connections.
        path = torch.stack(states, 1).unflatten(0, (different, b)).transpose(0, 1)
        most = max(1, FRAMES_AT_ONCE // (b * horizon))
        parts = [self.read_off(part.flatten(1, 2), w, skips) for part in path.split(most, 1)]
        frames = torch.cat([part.unflatten(1, (-1, horizon)) for part in parts], 1).transpose(0, 1)
        return frames.expand(samples, *[-1] * 5)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )
