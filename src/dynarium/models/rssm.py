"""Recurrent state-space model (RSSM: Hafner et al. 2019, arXiv:1811.04551) of short clips with actions.

A deterministic belief h carries the past, a stochastic state s what the past does not decide:

    h_0 = enc(x_0),   h_{t+1} = GRU(h_t, relu(W [s_t, a_t]))
    prior      p(s_t | h_t)       = N(mean, std^2),   linear maps of h_t
    posterior  q(s_t | h_t, x_t)  = N(mean, std^2),   two-layer maps of [enc(x_t), h_t]
    pixels     p(x_t | h_t, s_t)  = N(dec([s_t, h_t]), v)

    loss = sum_t |x_t - dec|^2 / (2 v) / T + beta * KL(q || p) balanced, with free nats, a step

A step whose frame is hidden takes its state from the prior. States are drawn by reparameterisation; the KL is that of the
posterior from the prior, in nats over the whole state. (The networks have the sizes of the study of moving dots,
arXiv:2211.10831, whose code trains neither of the two Gaussians.)
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.normalization import Normalization
from dynarium.models.pixels import fitted_to_frames, leading_actions, seen_frames
from dynarium.nn.frames import full_precision
from dynarium.nn.menet import MeNet, MeNet5Decoder
from dynarium.objectives.balancing import balanced_kl
from dynarium.objectives.collapse import effective_rank
from dynarium.objectives.schedules import Constant, Schedule
from dynarium.objectives.vicreg import standard_deviation
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class RSSMConfig:
    """Options of the recurrent state-space model.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action; taken from the data.
        belief: Dimension of the belief h and of the state s.
        encoder: Which network encodes a frame; its width is the decoder's too.
        pixel_variance: Variance v of a standardised pixel.
        beta: Weight of the KL as a function of the step.
        balance: Share of the KL's gradient that trains the prior.
        free_nats: Nats a step that cost nothing.
        min_std: Least standard deviation of prior and posterior.
    """

    frame: tuple[int, int, int] = (1, 28, 28)
    control: int = 2
    belief: int = 512
    encoder: MeNet = MeNet()  # noqa: RUF009 (frozen)
    pixel_variance: float = 1.0
    beta: Schedule = Constant(value=1.0)
    balance: float = 0.8
    free_nats: float = 1.0
    min_std: float = 0.1

    def __post_init__(self) -> None:
        if self.belief < 1:
            raise UserError(f"model.belief: expected at least 1, got {self.belief}")
        for name in ("pixel_variance", "min_std"):
            if getattr(self, name) <= 0:
                raise UserError(f"model.{name}: expected a number above 0, got {getattr(self, name)}")
        if not 0 <= self.balance <= 1 or self.free_nats < 0:
            wanted = "model.balance in [0, 1] and model.free_nats of at least 0"
            raise UserError(f"{wanted} expected, got {self.balance} and {self.free_nats}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "RSSMConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video`` or no ``action``.
        """
        if "action" not in shapes:
            raise UserError(f"rssm needs the field 'action'; the data has {', '.join(shapes) or 'no fields'}")
        return fitted_to_frames(self, shapes, "rssm")

    def build(self) -> "RSSM":
        """Create the model."""
        return RSSM(self)


class Beliefs(NamedTuple):
    """What a sequence of frames leads to: beliefs, and of the states posterior means, log-variances and a draw."""

    h: Float[Tensor, "b t d"]
    mean: Float[Tensor, "b t d"]
    log_variance: Float[Tensor, "b t d"]
    s: Float[Tensor, "b t d"]


class RSSM(nn.Module):
    """The recurrent state-space model. See ``RSSMConfig`` for its options and the module for the model."""

    def __init__(self, config: RSSMConfig) -> None:
        super().__init__()
        self.config, d = config, config.belief
        self.normalization = Normalization(config.frame[0], config.control)
        self.encoder = config.encoder.build(config.frame, d)
        self.inputs = nn.Linear(d + config.control, d)
        self.prior = nn.Linear(d, 2 * d)
        self.evidence = nn.Linear(2 * d, 2 * d)
        """The first layers of the posterior's mean and spread, side by side."""
        self.posterior_mean, self.posterior_std = nn.Linear(d, d), nn.Linear(d, d)
        self.cell = nn.GRUCell(d, d)
        self.decoder = MeNet5Decoder(config.frame, 2 * d, config.encoder.width)

    def prepare(self, batches: Iterable[SequenceBatch], seed: int = 0) -> list[float]:
        """Measure the spread of frames and actions. Nothing is maximised."""
        self.normalization.measure(batches, "rssm")
        return []

    # ---- the parts -------------------------------------------------------------------------------------------------

    def encoded(self, video: Shaped[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Return the encodings of all frames."""
        return full_precision(self.encoder(self.normalization.frames(video).flatten(0, 1))).unflatten(
            0, video.shape[:2]
        )

    def decoded(self, h: Float[Tensor, "b t d"], s: Float[Tensor, "b t d"]) -> Float[Tensor, "b t c h w"]:
        """Return the expected standardised frames; those of all steps at once."""
        return full_precision(self.decoder(torch.cat([s, h], -1).flatten(0, 1))).unflatten(0, h.shape[:2])

    def prior_of(self, h: Float[Tensor, "*b d"]) -> tuple[Float[Tensor, "*b d"], Float[Tensor, "*b d"]]:
        """Return mean and log-variance of p(s | h)."""
        mean, raw = full_precision(self.prior(h)).chunk(2, -1)
        return mean, self._log_variance(raw)

    def _log_variance(self, raw: Tensor) -> Tensor:
        return 2 * (F.softplus(raw) + self.config.min_std).log()

    def _next(self, h: Tensor, s: Tensor, pushed: Tensor) -> Tensor:
        """Return the next belief; ``pushed`` is the action's share of the input layer."""
        d = self.config.belief
        return full_precision(self.cell(F.relu(F.linear(s, self.inputs.weight[:, :d]) + pushed), h))

    def _pushed(self, action: Shaped[Tensor, "b f a"]) -> Float[Tensor, "b f d"]:
        if action.shape[-1] != self.config.control:
            raise UserError(f"action: {self.config.control} values a step wanted, got {action.shape[-1]}")
        u = self.normalization.actions(action)
        return F.linear(u, self.inputs.weight[:, self.config.belief :], self.inputs.bias)

    def filtered(
        self,
        e: Float[Tensor, "b t d"],
        action: Shaped[Tensor, "b f a"],
        mask: Bool[Tensor, "b t"] | None,
        generator: torch.Generator | None,
        noise: float,
    ) -> Beliefs:
        """Run the posterior along the frames, the prior where they are hidden. ``noise`` 1 draws the states, 0 takes means.

        What does not depend on the belief (the evidence of the frames, the actions) is computed for all steps at once.
        """
        d = self.config.belief
        seen = F.linear(e, self.evidence.weight[:, :d], self.evidence.bias)
        pushed, of_belief = self._pushed(action), self.evidence.weight[:, d:]
        epsilon = noise * torch.randn(e.shape, generator=generator, device=e.device, dtype=e.dtype)
        h, steps = e[:, 0], []
        for i in range(e.shape[1]):
            if i:
                h = self._next(h, steps[-1][3], pushed[:, i - 1])
            hidden = F.relu(seen[:, i] + F.linear(h, of_belief)).chunk(2, -1)
            mean = full_precision(self.posterior_mean(hidden[0]))
            log_variance = self._log_variance(full_precision(self.posterior_std(hidden[1])))
            if mask is not None:
                mean, log_variance = (
                    torch.where(mask[:, i, None], *pair)
                    for pair in zip((mean, log_variance), self.prior_of(h), strict=True)
                )
            steps.append((h, mean, log_variance, mean + (0.5 * log_variance).exp() * epsilon[:, i]))
        return Beliefs(*(torch.stack(part, 1) for part in zip(*steps, strict=True)))

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative bound in nats a step, up to a constant, and its terms.

        In eval mode the noise is fixed, the KL is that of the bound (no balance, no free nats) and beta is 1.

        Raises:
            UserError: The batch lacks a field.
        """
        config = self.config
        video, action, mask = self._fields(batch)
        e = self.encoded(video)
        generator = None if self.training else torch.Generator(e.device).manual_seed(0)
        beliefs = self.filtered(e, action, mask, generator, noise=1.0)
        frames = self.decoded(beliefs.h, beliefs.s)
        prior = self.prior_of(beliefs.h)
        with torch.autocast(e.device.type, enabled=False):
            error = (frames - self.normalization.frames(video)).square().sum((2, 3, 4))
            error = error.mean() if mask is None else (error * mask).sum() / mask.sum().clamp(min=1)
            balance, free = (config.balance, config.free_nats) if self.training else (1.0, 0.0)
            term, kl = balanced_kl((beliefs.mean, beliefs.log_variance), prior, balance, free)
            loss = error / (2 * config.pixel_variance) + (config.beta(step) if self.training else 1.0) * term
        rest = {"feature_std": standard_deviation(e[:, -1].detach())}
        if not self.training:
            rest["effective_rank"] = effective_rank(beliefs.h.detach().flatten(0, 1))
        return loss, {"squared_error": error.detach() / video[0, 0].numel(), "kl": kl, **rest}

    def _fields(self, batch: SequenceBatch) -> tuple[Tensor, Tensor, Tensor | None]:
        if batch.action is None:
            raise UserError(f"rssm needs the field 'action'; the batch has {', '.join(batch.present()) or 'no fields'}")
        video, mask = seen_frames(batch, self.config.frame, "rssm")
        if batch.action.shape[1] < video.shape[1] - 1:
            raise UserError(
                f"action: one between any two of {video.shape[1]} frames wanted, got {batch.action.shape[1]}"
            )
        return video, batch.action[:, : video.shape[1] - 1], mask

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed(self, video: Shaped[Tensor, "b t c h w"]) -> Float[Tensor, "b t d"]:
        """Return the belief that each frame alone would start with."""
        return self.encoded(video)

    def imagine(self, start: Float[Tensor, "b d"], action: Shaped[Tensor, "b f a"]) -> Float[Tensor, "b f d"]:
        """Return the beliefs after each action with every state at its prior mean; differentiable in both."""
        pushed, h, beliefs = self._pushed(action), start, []
        for i in range(action.shape[1]):
            h = self._next(h, self.prior_of(h)[0], pushed[:, i])
            beliefs.append(h)
        return torch.stack(beliefs, 1)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "b t d"]) -> Float[Tensor, "b t c h w"]:
        """Return the frames of beliefs, every state at its prior mean, in [0, 1]."""
        return self.normalization.pixels(self.decoded(z, self.prior_of(z)[0]))

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the filtered beliefs ``h`` and posterior means ``s``, and the encodings ``z`` of single frames."""
        video, action, mask = self._fields(batch)
        e = self.encoded(video)
        beliefs = self.filtered(e, action, mask, None, noise=0.0)
        return {"h": beliefs.h, "s": beliefs.mean, "z": e}

    @torch.no_grad()
    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return each frame decoded from its filtered belief and posterior mean."""
        return self.impute(replace(batch, mask=None, length=None))["filter"]

    @torch.no_grad()
    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return all frames decoded from the beliefs that the frames observed so far lead to (``filter``)."""
        video, action, mask = self._fields(batch)
        beliefs = self.filtered(self.encoded(video), action, mask, None, noise=0.0)
        return {"filter": self.normalization.pixels(self.decoded(beliefs.h, beliefs.mean))}

    @torch.no_grad()
    def forecast(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        action: Shaped[Tensor, "b f a"] | None = None,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f c h w"]:
        """Filter the context, then roll the prior on; with a generator its states are drawn, else at their means."""
        video, before, mask = self._fields(context)
        noise = 0.0 if generator is None else 1.0
        beliefs = self.filtered(self.encoded(video), before, mask, generator, noise)
        actions = leading_actions(context.action, action, horizon)
        assert actions is not None
        h, s, pushed = (
            x.expand(samples, *x.shape).flatten(0, 1)
            for x in (beliefs.h[:, -1], beliefs.s[:, -1], self._pushed(actions))
        )
        rolled = []
        for i in range(horizon):
            h = self._next(h, s, pushed[:, i])
            mean, log_variance = self.prior_of(h)
            drawn = torch.randn(mean.shape, generator=generator, device=mean.device) if noise else 0.0
            s = mean + (0.5 * log_variance).exp() * drawn
            rolled.append((h, s))
        frames = self.decoded(*(torch.stack(part, 1) for part in zip(*rolled, strict=True)))
        return self.normalization.pixels(frames).unflatten(0, (samples, len(video)))
