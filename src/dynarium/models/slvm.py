"""Sequential latent-variable forecasting with meta-learned dynamics (Jiang, Missel, Li & Wang, ICLR 2023).

A few first frames give the state z_0; from then on the dynamics run on their own and every state gives its frame:

    z_0 ~ q(z_0 | x_0 .. x_{l-1}),  z_t = f(z_{t-1}; c),  x_t ~ p(x_t | z_t)

c describes which dynamics these are. It is inferred feed-forward from a set D of context sequences of the same dynamics, by
a network that averages over the set, so that any number of them may be given. The bound on log p(x | D) is

    E_q [sum_t log p(x_t | z_t)] - KL(q(z_0 | x) || N(0, I)) - KL(q(c | D and x) || q(c | D)),

whose last term matches what the context says of the dynamics with what context and query say together (their eq. 8).
Without c it is the usual global latent dynamics model.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.conv import ConvEncoder, SubpixelDecoder
from dynarium.nn.frames import as_float
from dynarium.objectives.gaussians import gaussian_kl
from dynarium.objectives.likelihoods import bernoulli_log_likelihood
from dynarium.objectives.schedules import Constant, Schedule
from dynarium.types import SequenceBatch

MAX_LOG_VARIANCE = 6.0


@dataclass(frozen=True, kw_only=True)
class SLVMConfig:
    """Options of the latent-variable forecaster.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        conditioning: ``none``: one global dynamics. ``context``: dynamics conditioned on context sequences.
        dynamics: ``residual``: z_t = z_{t-1} + f(z_{t-1}; c), an explicit Euler step of a neural ODE; c scales and shifts
            every hidden unit of f. ``lstm``: an LSTM cell that reads z_{t-1} and c.
        observed: Number l of first frames that give z_0.
        rolled: Frames of a sequence that training decodes, from the first on; later ones are left for extrapolation.
        decoded: So many of these frames are drawn at random and decoded in a training step, for an unbiased estimate of the
            bound at a fraction of the decoder's time; all of them in evaluation.
        latent: Dimension n of z.
        code: Dimension of c.
        hidden: Width of the dynamics.
        channels: Channels of the encoder's layers, and of the decoder's.
        context_channels: Channels of the context encoder's layers.
        reach: Share of ``rolled`` that training decodes; rising from a small one, the near future is learned first.
        state_weight: Weight of KL(q(z_0 | x) || N(0, I)).
        code_weight: Weight of KL(q(c | D and x) || q(c | D)).
    """

    frame: tuple[int, int, int] = (1, 32, 32)
    conditioning: Literal["none", "context"] = "context"
    dynamics: Literal["residual", "lstm"] = "residual"
    observed: int = 3
    rolled: int = 20
    decoded: int = 8
    latent: int = 12
    code: int = 8
    hidden: int = 128
    channels: tuple[int, ...] = (32, 32, 32)
    context_channels: tuple[int, ...] = (24, 24, 24)
    reach: Schedule = Constant(value=1.0)
    state_weight: Schedule = Constant(value=1.0)
    code_weight: Schedule = Constant(value=1.0)

    def __post_init__(self) -> None:
        for name in ("observed", "rolled", "decoded", "latent", "code", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")
        if self.rolled < self.observed:
            raise UserError(f"model.rolled: expected at least observed={self.observed}, got {self.rolled}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SLVMConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``, or too few frames.
        """
        if "video" not in shapes:
            raise UserError(f"slvm needs the field 'video'; the data has {', '.join(shapes) or 'no fields'}")
        t, c, h, w = shapes["video"]
        if t < self.rolled:
            raise UserError(f"model.rolled: {self.rolled} frames wanted, the sequences of the data have {t}")
        return replace(self, frame=(c, h, w))

    def build(self) -> "SLVM":
        """Create the model."""
        return SLVM(self)


class SLVM(nn.Module):
    """The latent-variable forecaster. See ``SLVMConfig`` for its options and the module for the model."""

    def __init__(self, config: SLVMConfig) -> None:
        super().__init__()
        self.config = config
        c, h, w = config.frame
        meta = config.conditioning == "context"
        self.encoder = ConvEncoder((config.observed * c, h, w), config.channels)
        self.first_state = nn.Linear(self.encoder.width, 2 * config.latent)
        self.context = ConvEncoder((config.rolled * c, h, w), config.context_channels) if meta else None
        self.summary = nn.Linear(self.context.width, config.hidden) if self.context else None
        self.code = _mlp(config.hidden, config.hidden, 2 * config.code) if meta else None
        kinds = {"residual": ResidualDynamics, "lstm": LSTMDynamics}
        self.dynamics = kinds[config.dynamics](config.latent, config.hidden, config.code if meta else 0)
        self.decoder = SubpixelDecoder(config.latent, config.frame, config.channels)

    # ---- the parts -------------------------------------------------------------------------------------------------

    def first_state_of(self, frames: Float[Tensor, "b t c h w"]) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
        """Return mean and log-variance of q(z_0 | x_0 .. x_{l-1}); the frames enter as channels of one picture."""
        return _mean_and_log_variance(self.first_state(self.encoder(frames.flatten(1, 2))))

    def summaries(self, frames: Float[Tensor, "b t c h w"]) -> Float[Tensor, "b d"]:
        """Return what each sequence tells of its dynamics; missing frames at the end are dark."""
        assert self.context is not None and self.summary is not None
        frames = frames[:, : self.config.rolled]
        missing = self.config.rolled - frames.shape[1]
        frames = F.pad(frames, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else frames
        return self.summary(self.context(frames.flatten(1, 2))).float()

    def code_of(
        self, batch: SequenceBatch, query: Float[Tensor, "b d"] | None = None
    ) -> tuple[Float[Tensor, "b k"], Float[Tensor, "b k"]]:
        """Return mean and log-variance of q(c | D) for every sequence; with the summaries of the queries, of q(c | D and x).

        Raises:
            UserError: The batch has no context.
        """
        assert self.code is not None
        context = batch.context
        if context is None or context.episode is None or batch.episode is None:
            raise UserError(
                "slvm: these dynamics are conditioned on context sequences, and the batch has none; train with "
                "data.episodes, evaluate with shots, or set model.conditioning to none"
            )
        given = self.summaries(self._frames(context))
        episodes = int(torch.maximum(context.episode.max(), batch.episode.max())) + 1
        total = given.new_zeros(episodes, given.shape[1]).index_add(0, context.episode, given)[batch.episode]
        count = given.new_zeros(episodes).index_add(0, context.episode, given.new_ones(len(given)))[batch.episode, None]
        if query is not None:
            total, count = total + query, count + 1
        return _mean_and_log_variance(self.code(F.silu(total / count.clamp(min=1))))

    def roll(self, z: Float[Tensor, "b n"], code: Float[Tensor, "b k"] | None, steps: int) -> Float[Tensor, "b t n"]:
        """Return z_0 .. z_{steps-1}."""
        with torch.autocast(z.device.type, enabled=False):  # rounding would add up over the steps
            return self.dynamics(z, code, steps)

    def decode(self, z: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Return the logits of the frames."""
        return self.decoder(z.flatten(0, 1)).float().unflatten(0, z.shape[:2])

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative evidence bound, in nats a sequence, and its terms."""
        config = self.config
        frames = self._frames(batch)[:, : config.rolled]
        mean, log_variance = self.first_state_of(frames[:, : config.observed])
        z = self._drawn(mean, log_variance)
        zero = torch.zeros_like(mean)
        kl_state = gaussian_kl(mean, log_variance, zero, zero).sum(-1).mean()
        terms = {"kl_state": kl_state}
        code = None
        if self.code is not None:
            prior = self.code_of(batch)
            posterior = self.code_of(batch, self.summaries(frames))
            # In eval mode the code is what a forecast would have: the context's.
            code = self._drawn(*posterior) if self.training else prior[0]
            terms["kl_code"] = gaussian_kl(*posterior, *prior).sum(-1).mean()
        at = step if self.training else math.inf
        t = max(config.observed, min(frames.shape[1], round(config.reach(at) * config.rolled)))
        frames, z = frames[:, :t], self.roll(z, code, t)
        observed = batch.observed()
        weight = torch.ones_like(z[..., 0]) if observed is None else observed[:, :t].float()
        if self.training and config.decoded < t:
            chosen = torch.randperm(t, device=z.device)[: config.decoded]
            z, frames, weight = z[:, chosen], frames[:, chosen], weight[:, chosen] * (t / config.decoded)
        log_likelihood = bernoulli_log_likelihood(self.decode(z), frames).sum((2, 3, 4))
        log_x = (log_likelihood * weight).sum(1).mean()
        loss = -log_x + config.state_weight(at) * kl_state + config.code_weight(at) * terms.get("kl_code", 0.0)
        return loss, {"log_x": log_x.detach(), **{name: value.detach() for name, value in terms.items()}}

    def _drawn(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        return mean + (0.5 * log_variance).exp() * torch.randn_like(mean) if self.training else mean

    def _frames(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return the frames, dark where hidden."""
        if batch.video is None:
            raise UserError(f"slvm needs the field 'video'; the batch has {', '.join(batch.present()) or 'no fields'}")
        if tuple(batch.video.shape[2:]) != self.config.frame:
            raise UserError(f"video: frames of shape {self.config.frame} wanted, got {tuple(batch.video.shape[2:])}")
        mask = batch.observed()
        return as_float(batch.video if mask is None else torch.where(mask[..., None, None, None], batch.video, 0))

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the states ``z`` rolled out from the first frames over the whole sequence."""
        frames = self._frames(batch)
        self._check_first(frames.shape[1])
        mean, _ = self.first_state_of(frames[:, : self.config.observed])
        return {"z": self.roll(mean, self._code(batch), frames.shape[1])}

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
        """Infer the state from the last frames given and roll it on; ``context.context`` tells which dynamics.

        With a generator, the state at the first of these frames and the code of the dynamics are sampled.
        """
        frames = self._frames(context)
        given = self.config.observed
        self._check_first(frames.shape[1])
        states = self.first_state_of(frames[:, -given:])
        codes = None if self.code is None else self.code_of(context)

        def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
            mean = mean.expand(samples, *mean.shape)
            if generator is not None:
                noise = torch.randn(mean.shape, generator=generator, device=mean.device)
                mean = mean + (0.5 * log_variance).exp() * noise
            return mean.flatten(0, 1)

        z = self.roll(drawn(*states), None if codes is None else drawn(*codes), given + horizon)
        return self.decode(z[:, given:]).sigmoid().unflatten(0, (samples, len(frames)))

    def _code(self, batch: SequenceBatch) -> Tensor | None:
        return None if self.code is None else self.code_of(batch)[0]

    def _check_first(self, steps: int) -> None:
        if steps < self.config.observed:
            raise UserError(f"slvm: {self.config.observed} frames wanted to infer the state from, got {steps}")


class ResidualDynamics(nn.Module):
    """z_t = z_{t-1} + W_2 h_2, h_i = silu(g_i * (W_i h_{i-1} + b_i) + s_i), with gains g and shifts s a linear map of c.

    The map starts at g = 1, s = 0: at first all tasks share the dynamics.
    """

    def __init__(self, latent: int, hidden: int, code: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(latent, hidden), nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, latent)
        self.modulation = nn.Linear(code, 4 * hidden) if code else None
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            if self.modulation is not None:
                self.modulation.weight.mul_(0.1)
                self.modulation.bias.zero_()

    def forward(self, z: Float[Tensor, "b n"], code: Float[Tensor, "b k"] | None, steps: int) -> Float[Tensor, "b t n"]:
        """Return ``steps`` states, the first one as given."""
        gain_1 = gain_2 = z.new_ones(())
        shift_1 = shift_2 = z.new_zeros(())
        if self.modulation is not None and code is not None:
            gain_1, gain_2, shift_1, shift_2 = self.modulation(code).chunk(4, -1)
            gain_1, gain_2 = 1 + gain_1, 1 + gain_2
        states = [z]
        for _ in range(steps - 1):
            h = F.silu(gain_1 * self.first(z) + shift_1)
            h = F.silu(gain_2 * self.second(h) + shift_2)
            z = z + self.last(h)
            states.append(z)
        return torch.stack(states, 1)


class LSTMDynamics(nn.Module):
    """z_t = W h_t, (h_t, m_t) = LSTM([z_{t-1}, c], (h_{t-1}, m_{t-1})), the first h a linear map of z_0."""

    def __init__(self, latent: int, hidden: int, code: int) -> None:
        super().__init__()
        self.start = nn.Linear(latent, hidden)
        self.cell = nn.LSTMCell(latent + code, hidden)
        self.last = nn.Linear(hidden, latent)

    def forward(self, z: Float[Tensor, "b n"], code: Float[Tensor, "b k"] | None, steps: int) -> Float[Tensor, "b t n"]:
        """Return ``steps`` states, the first one as given."""
        h = torch.tanh(self.start(z))
        m = torch.zeros_like(h)
        states = [z]
        for _ in range(steps - 1):
            h, m = self.cell(z if code is None else torch.cat([z, code], -1), (h, m))
            z = self.last(h)
            states.append(z)
        return torch.stack(states, 1)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.SiLU(), nn.Linear(hidden, outputs))


def _mean_and_log_variance(raw: Tensor) -> tuple[Tensor, Tensor]:
    mean, log_variance = raw.float().chunk(2, -1)
    return mean, log_variance.clamp(-MAX_LOG_VARIANCE - 6, MAX_LOG_VARIANCE)
