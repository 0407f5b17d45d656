"""Kalman variational auto-encoder (Fraccaro, Kamronn, Paquet & Winther 2017, arXiv:1710.05741).

A frame x_t is encoded into a low-dimensional pseudo-observation a_t; a linear-Gaussian state-space model explains how a
moves, so that filtering, smoothing, imputation and forecasting are exact given its matrices:

    p(x, a, z) = prod_t p(x_t | a_t) p(a_t | z_t) p(z_t | z_{t-1}, u_t)
    z_1 ~ N(0, P0),  z_t = A_t z_{t-1} + B_t u_t + N(0, Q),  a_t = C_t z_t + N(0, R)

with M_t = sum_k alpha_t^(k) M^(k) for M in {A, B, C} and alpha_t = softmax(LSTM(a_1 .. a_{t-1})) (eqs. 3 to 6, 12). Where
a_t is missing, its one-step prediction takes its place in the LSTM (section 3.2).
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.models.pixels import (
    Likelihood,
    check_options,
    expected_frames,
    fitted_to_frames,
    frame_log_likelihood,
    hidden_in_training,
    leading_actions,
    seen_frames,
)
from dynarium.nn.conv import ConvEncoder, SubpixelDecoder
from dynarium.nn.frames import as_float
from dynarium.objectives.likelihoods import gaussian_log_likelihood
from dynarium.objectives.schedules import Constant, Linear, Schedule
from dynarium.ssm import LinearGaussian, apply, kalman_filter, predict_step, rts_smoother, update_step
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class KVAEConfig:
    """Options of the KVAE; the defaults are the paper's.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action u; 0 without actions. Taken from the data.
        observation: Dimension p of the pseudo-observation a.
        state: Dimension n of the state z.
        modes: Number K of matrices that are mixed. 1: one constant linear system.
        hidden: Width of the LSTM that gives the mixture weights.
        channels: Channels of the encoder's layers, and of the decoder's.
        likelihood: p(x | a): Bernoulli (frames in [0, 1]) or Gaussian with variance ``pixel_variance``.
        pixel_variance: Variance of the Gaussian likelihood.
        emission_variance: R = emission_variance * I; also the bound of the encoder's variance.
        transition_variance: Q = transition_variance * I.
        initial_variance: P0 = initial_variance * I.
        objective: ``elbo``: the paper's bound, with the state integrated out exactly. ``beta``: the annealed variant with an
            extra standard-normal prior on a, weighted by ``beta`` (a then has two priors: this is no bound on p(x)).
        reconstruction_weight: Weight of log p(x | a) in training; evaluation always uses 1.
        beta: Weight of log N(a; 0, I) - log q(a | x) under ``objective="beta"``.
        mixture_learning: Scales the gradient into the LSTM; 0 freezes it while encoder, decoder and matrices settle.
        missing: Probability with which a frame is hidden in training, from frame ``observe_first`` on.
        observe_first: Number of first frames that training never hides.
    """

    frame: tuple[int, int, int] = (1, 32, 32)
    control: int = 0
    observation: int = 2
    state: int = 4
    modes: int = 3
    hidden: int = 50
    channels: tuple[int, ...] = (32, 32, 32)
    likelihood: Likelihood = "bernoulli"
    pixel_variance: float = 0.1
    emission_variance: float = 0.03
    transition_variance: float = 0.08
    initial_variance: float = 20.0
    objective: Literal["elbo", "beta"] = "elbo"
    reconstruction_weight: float = 0.3
    beta: Schedule = Constant(value=1.0)
    mixture_learning: Schedule = Linear(start=0.0, end=1.0, begin=1560, until=1560)
    missing: float = 0.0
    observe_first: int = 3

    def __post_init__(self) -> None:
        check_options(self)

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "KVAEConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``.
        """
        return fitted_to_frames(self, shapes, "kvae")

    def build(self) -> "KVAE":
        """Create the model."""
        return KVAE(self)


@dataclass(frozen=True, kw_only=True)
class Dynamics:
    """The matrices of every step and what led to them."""

    weights: Float[Tensor, "b t k"]
    A: Float[Tensor, "b t n n"]
    B: Float[Tensor, "b t n a"] | None
    C: Float[Tensor, "b t p n"]


class KVAE(nn.Module):
    """The Kalman VAE. See ``KVAEConfig`` for its options and the module for the model."""

    def __init__(self, config: KVAEConfig) -> None:
        super().__init__()
        self.config = config
        p, n, k = config.observation, config.state, config.modes
        self.encoder = ConvEncoder(config.frame, config.channels)
        self.posterior = nn.Linear(self.encoder.width, 2 * p)
        self.decoder = SubpixelDecoder(p, config.frame, config.channels)
        self.A = nn.Parameter(torch.eye(n).repeat(k, 1, 1))
        self.B = nn.Parameter(0.05 * torch.randn(k, n, config.control)) if config.control else None
        self.C = nn.Parameter(0.05 * torch.randn(k, p, n))
        self.lstm = nn.LSTM(p, config.hidden, batch_first=True) if k > 1 else None
        self.mixture = nn.Linear(config.hidden, k) if k > 1 else None
        self.first = nn.Parameter(torch.zeros(p)) if k > 1 else None
        """The input of the LSTM at the first step, where there is no past."""
        self.Q = nn.Buffer(config.transition_variance * torch.eye(n), persistent=False)
        self.R = nn.Buffer(config.emission_variance * torch.eye(p), persistent=False)
        self.P0 = nn.Buffer(config.initial_variance * torch.eye(n), persistent=False)
        self.m0 = nn.Buffer(torch.zeros(n), persistent=False)

    # ---- q(a | x) and p(x | a) -------------------------------------------------------------------------------------

    def posterior_of(self, video: Tensor) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"]]:
        """Return mean and variance of q(a_t | x_t) for every frame; the variance lies below R (as in the paper's code)."""
        b, t = video.shape[:2]
        features = self.posterior(self.encoder(as_float(video).flatten(0, 1))).float().unflatten(0, (b, t))
        mean, raw = features.chunk(2, dim=-1)
        return mean, self.config.emission_variance * raw.sigmoid() + 1e-6

    def decode(self, a: Float[Tensor, "b t p"]) -> Float[Tensor, "b t c h w"]:
        """Return the pixel parameters: logits (Bernoulli) or means (Gaussian)."""
        return self.decoder(a.flatten(0, 1)).float().unflatten(0, a.shape[:2])

    def frames(self, a: Float[Tensor, "b t p"]) -> Float[Tensor, "b t c h w"]:
        """Return the expected frames, in [0, 1]."""
        return expected_frames(self.decode(a), self.config.likelihood)

    # ---- the linear-Gaussian part ----------------------------------------------------------------------------------

    def _mix(self, weights: Float[Tensor, "*b k"]) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return A, B, C as the mixture of the K matrices."""
        k = self.config.modes

        def mixed(matrices: Tensor) -> Tensor:
            return (weights @ matrices.reshape(k, -1)).unflatten(-1, matrices.shape[1:])

        return mixed(self.A), None if self.B is None else mixed(self.B), mixed(self.C)

    def _weights(self, hidden: Tensor) -> Tensor:
        assert self.mixture is not None
        return self.mixture(hidden).softmax(-1)

    def dynamics(
        self,
        a: Float[Tensor, "b t p"],
        mask: Bool[Tensor, "b t"] | None = None,
        action: Shaped[Tensor, "b t a"] | None = None,
        learning: float = 1.0,
    ) -> Dynamics:
        """Return the mixture weights and matrices of every step, given the observed part of ``a``.

        Without missing steps the LSTM sees the whole shifted sequence at once; otherwise it is unrolled together with the
        filter, whose one-step prediction C_t m_{t|t-1} takes the place of a missing a_t. ``learning`` scales the gradient
        that reaches the weights.
        """
        b, t = a.shape[:2]
        if self.lstm is None or self.first is None:
            weights = a.new_ones(b, t, 1)
        elif mask is None:
            weights = self._weights(self.lstm(self._shifted(a))[0])
        else:
            weights = self._unrolled_weights(a, mask, action)
        if learning != 1.0:
            weights = learning * weights + (1 - learning) * weights.detach()
        A, B, C = self._mix(weights)
        return Dynamics(weights=weights, A=A, B=B, C=C)

    def _unrolled_weights(self, a: Tensor, mask: Tensor, action: Tensor | None) -> Tensor:
        assert self.lstm is not None and self.first is not None
        b, t = mask.shape
        mean, cov = self.m0.expand(b, -1), self.P0.expand(b, -1, -1)
        past, hidden, weights = self.first.expand(b, -1), None, []
        control = self._control(action)
        for i in range(t):
            output, hidden = self.lstm(past[:, None], hidden)
            weights.append(self._weights(output[:, 0]))
            A, B, C = self._mix(weights[-1])
            if i > 0:
                push = None if B is None or control is None else apply(B, control[:, i])
                mean, cov = predict_step(mean, cov, A, self.Q, push)
            past = torch.where(mask[:, i, None], a[:, i], apply(C, mean))
            mean, cov, _ = update_step(mean, cov, past, C, self.R, mask[:, i])
        return torch.stack(weights, dim=1)

    def linear_gaussian(self, dynamics: Dynamics) -> LinearGaussian:
        """Return the state-space model that these matrices make."""
        return LinearGaussian(A=dynamics.A, B=dynamics.B, C=dynamics.C, Q=self.Q, R=self.R, m0=self.m0, P0=self.P0)

    def _control(self, action: Tensor | None) -> Tensor | None:
        """Shift the actions so that entry t is the one that leads into step t; ``None`` where the model takes none."""
        return None if action is None or self.B is None else F.pad(action[:, :-1].float(), (0, 0, 1, 0))

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative objective per observed frame (eq. 16 with the state integrated out) and its terms.

        ``-[w log p(x | a) - log q(a | x) + log p(a | u)]``, one sample of a. The paper samples the smoothed state as well;
        given the mixture weights that posterior is exact, so log p(a | u) from the filter's innovations is the same
        quantity without its variance. In eval mode w = 1, schedules are at their end, and the noise is fixed.
        """
        config, training = self.config, self.training
        video, mask = seen_frames(batch, config.frame, "kvae")
        mask = hidden_in_training(mask, video, config.missing, config.observe_first) if training else mask
        mean, variance = self.posterior_of(video)
        generator = None if training else torch.Generator(video.device).manual_seed(0)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        a = mean + variance.sqrt() * noise

        log_x = frame_log_likelihood(self.decode(a), video, config.likelihood, config.pixel_variance)
        log_q = gaussian_log_likelihood(a, mean, variance).sum(-1)

        with torch.autocast(a.device.type, enabled=False):  # small matrices want float32
            learning = config.mixture_learning(step) if training else 1.0
            dynamics = self.dynamics(a, mask, batch.action, learning)
            filtered = kalman_filter(self.linear_gaussian(dynamics), a, mask=mask, u=self._control(batch.action))
            log_a = filtered.log_likelihood

        observed = torch.ones_like(log_q) if mask is None else mask.to(log_q.dtype)
        count = observed.sum().clamp(min=1)
        log_x, log_q, log_a = ((term * observed).sum() / count for term in (log_x, log_q, log_a))
        terms = {"log_p_x": log_x, "log_q_a": log_q, "log_p_a": log_a, "elbo": log_x - log_q + log_a}
        terms["kl_a"] = log_q - log_a
        weight = config.reconstruction_weight if training else 1.0
        if config.objective == "beta":
            prior = (gaussian_log_likelihood(a, torch.zeros_like(a), 1.0).sum(-1) * observed).sum() / count
            beta = config.beta(step) if training else config.beta(math.inf)
            objective = weight * log_x + beta * (prior - log_q) + log_a
            terms |= {"log_prior_a": prior, "kl_prior_a": log_q - prior, "beta": torch.tensor(beta)}
        else:
            objective = weight * log_x - log_q + log_a
        with torch.no_grad():
            terms["active_units"] = (mean.flatten(0, 1).var(0) > 1e-2).sum().float()
        return -objective, {name: value.detach() for name, value in terms.items()}

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def infer(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Return everything that is inferred from the observed frames, means throughout.

        Keys: ``a`` (encoded, or predicted where missing), ``a_filter``, ``a_smooth`` (C m), ``z_filter``, ``z_smooth``,
        ``weights``, ``covariance`` (of the filtered state).
        """
        video, mask = seen_frames(batch, self.config.frame, "kvae")
        a, _ = self.posterior_of(video)
        dynamics = self.dynamics(a, mask, batch.action)
        model = self.linear_gaussian(dynamics)
        filtered = kalman_filter(model, a, mask=mask, u=self._control(batch.action))
        smoothed = rts_smoother(model, filtered)

        def emitted(z: Tensor) -> Tensor:
            return apply(dynamics.C, z)

        predicted = emitted(filtered.predicted_mean)
        return {
            "a": a if mask is None else torch.where(mask[..., None], a, predicted),
            "a_filter": emitted(filtered.mean),
            "a_smooth": emitted(smoothed.mean),
            "z_filter": filtered.mean,
            "z_smooth": smoothed.mean,
            "weights": dynamics.weights,
            "covariance": filtered.cov,
        }

    @torch.no_grad()
    def bound(self, batch: SequenceBatch) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every sequence, in nats: one sample of a, the same in every call.

        The state is integrated out exactly; the weights of training do not enter.
        """
        device = self.m0.device
        return self.log_weights(batch, 1, torch.Generator(device).manual_seed(0))[0]

    @torch.no_grad()
    def log_weights(
        self, batch: SequenceBatch, samples: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "s b"]:
        """Return log p(x | a) + log p(a | u) - log q(a | x) of ``samples`` pseudo-observations drawn from q."""
        video, mask = seen_frames(batch, self.config.frame, "kvae")

        def repeated(x: Tensor) -> Tensor:
            return x.expand(samples, *x.shape).flatten(0, 1)

        mean, variance = map(repeated, self.posterior_of(video))
        a = mean + variance.sqrt() * torch.randn(mean.shape, generator=generator, device=mean.device)
        hidden = None if mask is None else repeated(mask)
        action = None if batch.action is None else repeated(batch.action)
        model = self.linear_gaussian(self.dynamics(a, hidden, action))
        log_a = kalman_filter(model, a, mask=hidden, u=self._control(action)).log_likelihood
        log_q = gaussian_log_likelihood(a, mean, variance).sum(-1)
        log_x = frame_log_likelihood(
            self.decode(a), repeated(video), self.config.likelihood, self.config.pixel_variance
        )
        weights = log_x - log_q + log_a
        seen = weights if hidden is None else torch.where(hidden, weights, 0.0)
        return seen.sum(1).unflatten(0, (samples, len(video)))

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the representations ``z_smooth``, ``z_filter``, ``a``, ``a_smooth`` and the mixture ``weights``."""
        inferred = self.infer(batch)
        return {name: inferred[name] for name in ("z_smooth", "z_filter", "a", "a_smooth", "weights")}

    @torch.no_grad()
    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return each frame decoded from its own encoding."""
        video, _ = seen_frames(replace(batch, mask=None, length=None), self.config.frame, "kvae")
        return self.frames(self.posterior_of(video)[0])

    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return all frames decoded from C m_{t|T} (``smooth``) and from C m_{t|t} (``filter``)."""
        inferred = self.infer(batch)
        with torch.no_grad():
            return {name: self.frames(inferred[f"a_{name}"]) for name in ("smooth", "filter")}

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
        """Roll the state-space model forward from the last frame of the context; the LSTM reads its own predictions.

        ``action[:, 0]`` acts from the first forecast frame on; the context's last action leads into it. Without a
        generator every noise is zero; with one, the filtered state, the transitions and the emissions are sampled.
        """
        inferred = self.infer(context)
        a = inferred["a"]
        weights_state = self._state_before_last(a)
        b = len(a)

        def repeated(x: Tensor) -> Tensor:
            return x.expand(samples, *x.shape).flatten(0, 1)

        def noise(like: Tensor) -> Tensor:
            if generator is None:
                return torch.zeros_like(like)
            return torch.randn(like.shape, generator=generator, device=like.device, dtype=like.dtype)

        z = repeated(inferred["z_filter"][:, -1])
        spread = torch.linalg.cholesky(repeated(inferred["covariance"][:, -1]))
        z = z + apply(spread, noise(z))
        past, hidden = repeated(a[:, -1]), None
        if weights_state is not None:
            hidden = tuple(repeated(part.transpose(0, 1)).transpose(0, 1).contiguous() for part in weights_state)
        actions = None if self.B is None else leading_actions(context.action, action, horizon)
        actions = None if actions is None else repeated(actions)
        rolled = []
        for i in range(horizon):
            if self.lstm is None:
                weights = z.new_ones(len(z), 1)
            else:
                output, hidden = self.lstm(past[:, None], hidden)
                weights = self._weights(output[:, 0])
            A, B, C = self._mix(weights)
            z = apply(A, z) + math.sqrt(self.config.transition_variance) * noise(z)
            if B is not None and actions is not None:
                z = z + apply(B, actions[:, i])
            past = apply(C, z)
            past = past + math.sqrt(self.config.emission_variance) * noise(past)
            rolled.append(past)
        return self.frames(torch.stack(rolled, dim=1)).unflatten(0, (samples, b))

    def _shifted(self, a: Float[Tensor, "b t p"]) -> Float[Tensor, "b t p"]:
        """Return what the LSTM reads: the learned first input, then all but the last pseudo-observation."""
        assert self.first is not None
        return torch.cat([self.first.expand(len(a), 1, -1), a[:, :-1]], dim=1)

    def _state_before_last(self, a: Float[Tensor, "b t p"]) -> tuple[Tensor, Tensor] | None:
        """Return the LSTM's state after all but the last pseudo-observation."""
        return None if self.lstm is None else self.lstm(self._shifted(a))[1]
