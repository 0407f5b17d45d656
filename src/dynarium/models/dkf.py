"""Deep Kalman filter, also called deep Markov model (Krishnan, Shalit & Sontag 2015, arXiv:1511.05121; 2017, arXiv:1609.09869).

A Gaussian state-space model whose transition and emission are networks:

    p(x, z | u) = prod_t p(x_t | z_t) p(z_t | z_{t-1}, u_t)
    z_1 ~ N(m, diag v),  z_t ~ N(mu(z_{t-1}, u_t), diag s(z_{t-1}, u_t))

u_t is the action that leads into step t. The posterior has the structure of the true one, in which z_t given z_{t-1} needs no
frame before t: q(z | x, u) = prod_t q(z_t | z_{t-1}, h_t) with a recurrent summary h_t, forwards in time (``filter``) or
backwards (``smooth``, their deep Kalman smoother), combined as ``(tanh(W z_{t-1} + b) + h_t) / 2`` (2017). The bound is

    log p(x | u) >= E_q [sum_t log p(x_t | z_t) - KL(q(z_t | z_{t-1}, h_t) || p(z_t | z_{t-1}, u_t))]      (2017, eq. 6)

with each divergence in closed form. Where nothing that h_t summarises is observed any more, the posterior of z_t given
z_{t-1} is the transition itself, exactly, and its divergence 0.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.pixels import (
    Likelihood,
    expected_frames,
    fitted_to_frames,
    frame_log_likelihood,
    hidden_in_training,
    leading_actions,
    seen_frames,
)
from dynarium.nn.conv import ConvEncoder, SubpixelDecoder
from dynarium.nn.frames import as_float
from dynarium.objectives.gaussians import gaussian_kl
from dynarium.objectives.likelihoods import gaussian_log_likelihood
from dynarium.objectives.schedules import Linear, Schedule
from dynarium.types import SequenceBatch

MIN_LOG_VARIANCE, MAX_LOG_VARIANCE = -12.0, 6.0


@dataclass(frozen=True, kw_only=True)
class DKFConfig:
    """Options of the deep Kalman filter.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action u; 0 without actions. Taken from the data.
        state: Dimension n of the state z.
        hidden: Width of the recurrent summary and of the transition.
        channels: Channels of the encoder's layers, and of the decoder's.
        inference: ``filter``: q(z_t | z_{t-1}, x_1 .. x_t). ``smooth``: q(z_t | z_{t-1}, x_t .. x_T), what the true posterior
            depends on.
        transition: ``gated``: a learned mixture, for each dimension, of a linear and a nonlinear step (2017).
            ``residual``: z + f(z, u), f with one hidden layer.
        likelihood: p(x | z): Gaussian with variance ``pixel_variance`` or Bernoulli (frames in [0, 1]).
        pixel_variance: Variance of the Gaussian likelihood.
        kl_weight: Weight of the divergence in training; evaluation always uses 1.
        missing: Probability with which a frame is hidden in training, from frame ``observe_first`` on.
        observe_first: Number of first frames that training never hides.
    """

    frame: tuple[int, int, int] = (1, 32, 32)
    control: int = 0
    state: int = 4
    hidden: int = 64
    channels: tuple[int, ...] = (32, 32, 32)
    inference: Literal["filter", "smooth"] = "smooth"
    transition: Literal["gated", "residual"] = "gated"
    likelihood: Likelihood = "bernoulli"
    pixel_variance: float = 0.1
    kl_weight: Schedule = Linear(start=0.0, end=1.0, until=1000)
    missing: float = 0.0
    observe_first: int = 3

    def __post_init__(self) -> None:
        for name in ("state", "hidden"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")
        if self.pixel_variance <= 0:
            raise UserError(f"model.pixel_variance: expected a variance above 0, got {self.pixel_variance}")
        if not 0 <= self.missing < 1:
            raise UserError(f"model.missing: expected a probability in [0, 1), got {self.missing}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "DKFConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``.
        """
        return fitted_to_frames(self, shapes, "dkf")

    def build(self) -> "DKF":
        """Create the model."""
        return DKF(self)


@dataclass(frozen=True, kw_only=True)
class Path:
    """A path of states drawn from q, with mean and log-variance of q(z_t | z_{t-1}, h_t) and of p(z_t | z_{t-1}, u_t)."""

    z: Float[Tensor, "b t n"]
    mean: Float[Tensor, "b t n"]
    log_variance: Float[Tensor, "b t n"]
    prior_mean: Float[Tensor, "b t n"]
    prior_log_variance: Float[Tensor, "b t n"]


class DKF(nn.Module):
    """The deep Kalman filter. See ``DKFConfig`` for its options and the module for the model."""

    def __init__(self, config: DKFConfig) -> None:
        super().__init__()
        self.config = config
        n, d = config.state, config.hidden
        self.encoder = ConvEncoder(config.frame, config.channels)
        self.features = nn.Linear(self.encoder.width, d)
        self.absent = nn.Parameter(torch.zeros(d))
        """What the recurrent network reads in place of a hidden frame."""
        self.summary = nn.GRU(d + config.control, d, batch_first=True)
        self.combined = nn.Linear(n, d)
        self.posterior = nn.Linear(d, 2 * n)
        self.start = nn.Parameter(torch.zeros(n))
        """What stands for z_0 in the posterior of z_1."""
        self.first_mean = nn.Parameter(torch.zeros(n))
        self.first_log_variance = nn.Parameter(torch.zeros(n))
        kinds = {"gated": GatedTransition, "residual": ResidualTransition}
        self.transition = kinds[config.transition](n, config.control, d)
        self.decoder = SubpixelDecoder(n, config.frame, config.channels)

    # ---- the parts -------------------------------------------------------------------------------------------------

    def decode(self, z: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Return the pixel parameters: logits (Bernoulli) or means (Gaussian)."""
        return self.decoder(z.flatten(0, 1)).float().unflatten(0, z.shape[:2])

    def frames(self, z: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Return the expected frames, in [0, 1]."""
        return expected_frames(self.decode(z), self.config.likelihood)

    def summaries(
        self, video: Shaped[Tensor, "b t c h w"], mask: Bool[Tensor, "b t"] | None, control: Float[Tensor, "b t a"]
    ) -> Float[Tensor, "b t d"]:
        """Return h_t, what the frames up to t (``filter``) or from t on (``smooth``) say, and the actions with them."""
        e = F.relu(self.features(self.encoder(as_float(video).flatten(0, 1)))).unflatten(0, video.shape[:2])
        e = e if mask is None else torch.where(mask[..., None], e, self.absent.to(e.dtype))
        inputs = torch.cat([e.float(), control], dim=-1)
        with torch.autocast(inputs.device.type, enabled=False):
            if self.config.inference == "filter":
                return self.summary(inputs)[0]
            # Backwards from the last observed frame on: steps after it say nothing and are not read.
            steps = torch.arange(video.shape[1], device=video.device)
            last = steps[-1] if mask is None else torch.where(mask, steps, -1).amax(1, keepdim=True)
            order = torch.where(steps <= last, last - steps, steps).expand(video.shape[:2])[..., None]
            backwards = self.summary(inputs.gather(1, order.expand(inputs.shape)))[0]
            return backwards.gather(1, order.expand(backwards.shape))

    def informed(self, mask: Bool[Tensor, "b t"] | None) -> Bool[Tensor, "b t"] | None:
        """Return where the frames tell more of z_t than z_{t-1} does: at t, or from t on; ``None``: everywhere."""
        if mask is None or self.config.inference == "filter":
            return mask
        return mask.flip(1).cummax(1).values.flip(1)

    def priors(
        self, z: Float[Tensor, "b t n"], control: Float[Tensor, "b t a"]
    ) -> tuple[Float[Tensor, "b t n"], Float[Tensor, "b t n"]]:
        """Return mean and log-variance of p(z_1) and of p(z_t | z_{t-1}, u_t), all steps at once."""
        mean, log_variance = self.transition(z[:, :-1], control[:, 1:])
        first = self.first_mean.expand(len(z), 1, -1), self.first_log_variance.expand(len(z), 1, -1)
        return torch.cat([first[0], mean], 1), torch.cat([first[1], log_variance], 1)

    def path(
        self,
        h: Float[Tensor, "b t d"],
        informed: Bool[Tensor, "b t"] | None,
        control: Float[Tensor, "b t a"],
        noise: Float[Tensor, "b t n"] | None,
    ) -> Path:
        """Draw z_1 .. z_T from q, one after the other; without noise, follow the means."""
        b, t = h.shape[:2]
        z, states, means, log_variances = self.start.expand(b, -1), [], [], []
        for i in range(t):
            raw = self.posterior(0.5 * (torch.tanh(self.combined(z)) + h[:, i]))
            mean, log_variance = raw.chunk(2, dim=-1)
            log_variance = log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)
            if informed is not None:
                first = self.first_mean.expand(b, -1), self.first_log_variance.expand(b, -1)
                prior = first if i == 0 else self.transition(z, control[:, i])
                told = informed[:, i, None]
                mean, log_variance = torch.where(told, mean, prior[0]), torch.where(told, log_variance, prior[1])
            z = mean if noise is None else mean + (0.5 * log_variance).exp() * noise[:, i]
            states.append(z)
            means.append(mean)
            log_variances.append(log_variance)
        z = torch.stack(states, 1)
        prior_mean, prior_log_variance = self.priors(z, control)
        return Path(
            z=z,
            mean=torch.stack(means, 1),
            log_variance=torch.stack(log_variances, 1),
            prior_mean=prior_mean,
            prior_log_variance=prior_log_variance,
        )

    def _control(self, batch: SequenceBatch, video: Tensor) -> Float[Tensor, "b t a"]:
        """Shift the actions so that entry t is the one that leads into step t."""
        if self.config.control == 0:
            return torch.zeros(*video.shape[:2], 0, device=video.device)
        if batch.action is None:
            raise UserError(f"dkf needs the field 'action'; the batch has {', '.join(batch.present())}")
        return F.pad(batch.action[:, :-1].float(), (0, 0, 1, 0))

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative evidence bound per observed frame, one sample of z, and its terms.

        In training ``kl_weight`` weighs the divergence; in eval mode it is 1 and the noise is fixed.
        """
        config, training = self.config, self.training
        video, mask = seen_frames(batch, config.frame, "dkf")
        mask = hidden_in_training(mask, video, config.missing, config.observe_first) if training else mask
        log_x, kl = self._terms(batch, video, mask, None if training else 0)
        count = log_x.new_tensor(video.shape[0] * video.shape[1]) if mask is None else mask.sum().clamp(min=1)
        log_x, kl = log_x.sum() / count, kl.sum() / count
        weight = config.kl_weight(step) if training else 1.0
        terms = {"log_p_x": log_x, "kl": kl, "elbo": log_x - kl, "kl_weight": torch.tensor(weight)}
        return weight * kl - log_x, {name: value.detach() for name, value in terms.items()}

    def _terms(
        self, batch: SequenceBatch, video: Tensor, mask: Tensor | None, seed: int | None
    ) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return log p(x | z) of what is observed and the divergence of every sequence, for one sample of z."""
        control = self._control(batch, video)
        h = self.summaries(video, mask, control)
        generator = None if seed is None else torch.Generator(video.device).manual_seed(seed)
        noise = torch.randn(*video.shape[:2], self.config.state, generator=generator, device=video.device)
        with torch.autocast(h.device.type, enabled=False):
            path = self.path(h, self.informed(mask), control, noise)
            kl = gaussian_kl(path.mean, path.log_variance, path.prior_mean, path.prior_log_variance).sum((1, 2))
        return self._log_x(path.z, video, mask), kl

    def _log_x(self, z: Tensor, video: Tensor, mask: Tensor | None) -> Float[Tensor, " b"]:
        log_x = frame_log_likelihood(self.decode(z), video, self.config.likelihood, self.config.pixel_variance)
        return (log_x if mask is None else torch.where(mask, log_x, 0.0)).sum(1)

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def bound(self, batch: SequenceBatch) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every sequence, in nats: one sample of z, the same in every call."""
        video, mask = seen_frames(batch, self.config.frame, "dkf")
        log_x, kl = self._terms(batch, video, mask, 0)
        return log_x - kl

    @torch.no_grad()
    def log_weights(
        self, batch: SequenceBatch, samples: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "s b"]:
        """Return log p(x | z) + log p(z | u) - log q(z | x, u) of ``samples`` states drawn from q."""
        video, mask = seen_frames(batch, self.config.frame, "dkf")
        control = self._control(batch, video)
        h = self.summaries(video, mask, control)

        def repeated(x: Tensor) -> Tensor:
            return x.expand(samples, *x.shape).flatten(0, 1)

        informed = self.informed(mask)
        shape = samples * video.shape[0], video.shape[1], self.config.state
        noise = torch.randn(shape, generator=generator, device=video.device)
        path = self.path(repeated(h), None if informed is None else repeated(informed), repeated(control), noise)
        log_p = gaussian_log_likelihood(path.z, path.prior_mean, path.prior_log_variance.exp())
        log_q = gaussian_log_likelihood(path.z, path.mean, path.log_variance.exp())
        log_x = self._log_x(path.z, repeated(video), None if mask is None else repeated(mask))
        return (log_x + (log_p - log_q).sum((1, 2))).unflatten(0, (samples, len(video)))

    @torch.no_grad()
    def infer(self, batch: SequenceBatch) -> Float[Tensor, "b t n"]:
        """Return the states along the means of q, given the observed frames."""
        video, mask = seen_frames(batch, self.config.frame, "dkf")
        control = self._control(batch, video)
        return self.path(self.summaries(video, mask, control), self.informed(mask), control, None).mean

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the states ``z``."""
        return {"z": self.infer(batch)}

    @torch.no_grad()
    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return the frames decoded from the states of the whole sequence."""
        return self.frames(self.infer(replace(batch, mask=None, length=None)))

    @torch.no_grad()
    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return all frames decoded from the states; the name is that of the inference (``smooth`` or ``filter``)."""
        return {self.config.inference: self.frames(self.infer(batch))}

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
        """Infer the states of the context and roll the transition on from the last one.

        ``action[:, 0]`` acts from the first forecast frame on; the context's last action leads into it. Without a
        generator the means are followed; with one, the states of the context and the transitions are sampled.
        """
        video, mask = seen_frames(context, self.config.frame, "dkf")
        control, informed = self._control(context, video), self.informed(mask)
        h = self.summaries(video, mask, control)
        b, n = len(video), self.config.state

        def repeated(x: Tensor) -> Tensor:
            return x.expand(samples, *x.shape).flatten(0, 1)

        def noise(*shape: int) -> Tensor | None:
            return None if generator is None else torch.randn(shape, generator=generator, device=video.device)

        informed = None if informed is None else repeated(informed)
        drawn = noise(samples * b, video.shape[1], n)
        z = self.path(repeated(h), informed, repeated(control), drawn).z[:, -1]
        leading = leading_actions(context.action, action, horizon) if self.config.control else None
        u = repeated(control.new_zeros(b, horizon, 0) if leading is None else leading)
        rolled = []
        for i in range(horizon):
            z, log_variance = self.transition(z, u[:, i])
            drawn = noise(*z.shape)
            z = z if drawn is None else z + (0.5 * log_variance).exp() * drawn
            rolled.append(z)
        return self.frames(torch.stack(rolled, 1)).unflatten(0, (samples, b))


class GatedTransition(nn.Module):
    """mu = (1 - g) * (W [z, u] + b) + g * f, log s = log softplus(V relu(f) + c) (Krishnan et al. 2017).

    The gate g and the proposal f are networks of [z, u] with one hidden layer; W starts as the identity of z.
    """

    def __init__(self, state: int, control: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.proposal = (_mlp(state + control, hidden, state) for _ in range(2))
        self.linear, self.spread = nn.Linear(state + control, state), nn.Linear(state, state)
        with torch.no_grad():
            self.linear.weight[:, :state].copy_(torch.eye(state))
            self.linear.bias.zero_()

    def forward(
        self, z: Float[Tensor, "*b n"], u: Float[Tensor, "*b a"]
    ) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n"]]:
        """Return mean and log-variance of the next state."""
        inputs = torch.cat([z, u], dim=-1)
        gate, proposal = self.gate(inputs).sigmoid(), self.proposal(inputs)
        mean = (1 - gate) * self.linear(inputs) + gate * proposal
        return mean, (F.softplus(self.spread(F.relu(proposal))) + math.exp(MIN_LOG_VARIANCE)).log()


class ResidualTransition(nn.Module):
    """mu = z + f, with f and log s the two halves of a network of [z, u] with one hidden layer."""

    def __init__(self, state: int, control: int, hidden: int) -> None:
        super().__init__()
        self.layers = _mlp(state + control, hidden, 2 * state)

    def forward(
        self, z: Float[Tensor, "*b n"], u: Float[Tensor, "*b a"]
    ) -> tuple[Float[Tensor, "*b n"], Float[Tensor, "*b n"]]:
        """Return mean and log-variance of the next state."""
        step, log_variance = self.layers(torch.cat([z, u], dim=-1)).chunk(2, dim=-1)
        return z + step, log_variance.clamp(MIN_LOG_VARIANCE, MAX_LOG_VARIANCE)


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
