"""Kalman variational auto-encoder whose matrices a discrete Markov regime chooses.

The VAE of Fraccaro et al. 2017 (arXiv:1710.05741), with a switching linear system in place of the mixture of matrices:

    p(x, a, z, s) = p(s_1) prod_t p(s_t | s_{t-1}, h_{t-1}) p(z_t | z_{t-1}, u_t, s_t) p(a_t | z_t, s_t) p(x_t | a_t)
    z_1 ~ N(0, P0),  z_t = A_s z_{t-1} + B_s u_t + N(0, Q_s),  a_t = C_s z_t + N(0, R),   s = s_t in 1 .. K

where p(s_t = j | s_{t-1} = i, h) = softmax_j(T_ij + (V h)_j) and h_t = GRU(a_1 .. a_t); with ``transition="markov"`` V = 0.
The posterior of the regimes is that chain, tilted at every observed step by potentials:

    q(s_1 .. s_T | a) = p(s_1 .. s_T) prod_t exp psi_t(s_t) / Z
    psi_t(k) = log N(a_t; its prediction from a_1 .. a_{t-1} under regime k),    0 where a_t is hidden

The predictions are those of a bank of Kalman filters, one step of each regime from a common past that is collapsed to one
Gaussian (the generalised pseudo-Bayes filter of order 1: Ackerson & Fu 1970; Bar-Shalom et al. 2001, section 11.6).
Forward-backward gives Z, the marginals w_t and the divergence of whole paths, exactly:

    KL(q || p) = sum_t E_q[psi_t(s_t)] - log Z,    log Z = sum_t log sum_k p(s_t = k | a_1 .. a_{t-1}) exp psi_t(k)

Z is what training raises: a product of normalised densities of a_t given its past, so a density of a. It is that of the
collapsed model, the one that filters, and only approximately that of the switching system, whose own past is a mixture
of K^t Gaussians. With one regime the two are the same.

A hidden frame tilts nothing: the chain alone speaks there, and a one-step prediction of a_t enters the GRU.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
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
from dynarium.objectives.schedules import Schedule, Staircase
from dynarium.ssm import apply, kalman_filter, square_root
from dynarium.ssm.bank import BankStep, bank_ahead, bank_predictions, bank_update, filter_bank, smooth_bank, stacked
from dynarium.ssm.discrete import viterbi
from dynarium.ssm.mean_field import Regimes, collapse, mean_field_bound, mixture_mean
from dynarium.ssm.tilted import TiltedChain, relaxed_path
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class SwitchingKVAEConfig:
    """Options of the switching KVAE.

    Attributes:
        frame: (channels, height, width); taken from the data when a run starts.
        control: Dimension of the action u; 0 without actions. Taken from the data.
        observation: Dimension p of the pseudo-observation a.
        state: Dimension n of the state z.
        modes: Number K of regimes. 1: one constant linear system.
        hidden: Width of the GRU that reads the pseudo-observations.
        channels: Channels of the encoder's layers, and of the decoder's.
        likelihood: p(x | a): Bernoulli (frames in [0, 1]) or Gaussian with variance ``pixel_variance``.
        pixel_variance: Variance of the Gaussian likelihood.
        emission_variance: R = emission_variance * I; also the bound of the encoder's variance.
        transition_variance: Q_k = transition_variance * I at the start; every regime learns its own by a Cholesky factor.
        initial_variance: P0 = initial_variance * I.
        transition: The next regime depends on the last (``markov``), and on the past pseudo-observations (``recurrent``).
        sticky_p_stay: Probability of staying in a regime at the start; the transition matrix is learned. Where one regime
            holds most of the probability from the start, it learns all, and the others are never tried.
        offset: Give every regime a constant push as well, z_t = A z_{t-1} + b + ..: a reflection at a wall needs one.
        regimes: What stands for log p(a) in training. ``filter``: the likelihood of the bank of filters. ``mean-field``: the
            exact bound of q(s) q(z); its q has a learned potential (g h_t)_k as well. ``gumbel-softmax``: log p(a | s) at one
            relaxed path drawn from that q at temperature ``tau``; no bound.
        tau: Temperature of the Gumbel-softmax (``tau_init``, times ``tau_decay_rate`` every epoch, down to ``tau_min``).
        spread: Standard deviation of the entries of A_k about constant velocity at the start (about the identity if the
            state is no twice as large as a); regimes that are equal stay equal.
        reconstruction_weight: Weight of log p(x | a) in training; evaluation always uses 1.
        missing: Probability with which a frame is hidden in training, from frame ``observe_first`` on.
        observe_first: Number of first frames that training never hides.
    """

    frame: tuple[int, int, int] = (1, 32, 32)
    control: int = 0
    observation: int = 2
    state: int = 4
    modes: int = 9
    hidden: int = 50
    channels: tuple[int, ...] = (32, 32, 32)
    likelihood: Likelihood = "bernoulli"
    pixel_variance: float = 0.1
    emission_variance: float = 0.03
    transition_variance: float = 0.08
    initial_variance: float = 20.0
    transition: Literal["recurrent", "markov"] = "recurrent"
    sticky_p_stay: float = 0.111
    offset: bool = True
    regimes: Literal["filter", "mean-field", "gumbel-softmax"] = "filter"
    tau: Schedule = field(default_factory=lambda: Staircase(value=1.0, factor=0.995, every=156, floor=0.2))
    spread: float = 0.1
    reconstruction_weight: float = 0.3
    missing: float = 0.0
    observe_first: int = 3

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 < self.sticky_p_stay < 1:
            raise UserError(f"model.sticky_p_stay: expected a probability in (0, 1), got {self.sticky_p_stay}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SwitchingKVAEConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``video``.
        """
        return fitted_to_frames(self, shapes, "switching-kvae")

    def build(self) -> "SwitchingKVAE":
        """Create the model."""
        return SwitchingKVAE(self)


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """What the bank of filters knows at every step, and the chain of the regimes with what tilts it.

    Attributes:
        chain: Its potentials are the bank's less their maximum: q ignores a constant, rounding does not.
        bank: Weights and moments of the filter; log p(a_t | a_1 .. a_{t-1}), 0 where a_t is hidden.
        memory: The last state of the GRU; ``None`` without one.
    """

    chain: TiltedChain
    bank: BankStep
    memory: Float[Tensor, "b d"] | None

    @staticmethod
    def of(bank: BankStep, log_initial: Tensor, log_transition: Tensor, memory: Tensor | None) -> "Tracked":
        """Return the bank's knowledge and its chain."""
        potential = bank.potential - bank.potential.detach().amax(-1, keepdim=True)
        chain = TiltedChain(log_initial=log_initial, log_transition=log_transition, potential=potential)
        return Tracked(chain=chain, bank=bank, memory=memory)


class SwitchingKVAE(nn.Module):
    """The switching Kalman VAE. See ``SwitchingKVAEConfig`` for its options and the module for the model."""

    def __init__(self, config: SwitchingKVAEConfig) -> None:
        super().__init__()
        self.config = config
        p, n, k = config.observation, config.state, config.modes
        self.encoder = ConvEncoder(config.frame, config.channels)
        self.posterior = nn.Linear(self.encoder.width, 2 * p)
        self.decoder = SubpixelDecoder(p, config.frame, config.channels)
        straight = torch.eye(n)
        if n >= 2 * p:  # what is seen, its velocity, and the rest
            straight[:p, p : 2 * p] += torch.eye(p)
        self.A = nn.Parameter(straight + config.spread * torch.randn(k, n, n))
        push = [0.05 * torch.randn(k, n, config.control)] if config.control else []
        push += [torch.randn(k, n, 1)] if config.offset else []
        self.B = nn.Parameter(torch.cat(push, -1)) if push else None
        # A state of one regime must make sense to the others, or they are never tried: all begin with the same emission.
        self.C = nn.Parameter(0.3 * torch.eye(p, n).repeat(k, 1, 1))
        self.log_root = nn.Parameter((0.5 * math.log(config.transition_variance) * torch.eye(n)).repeat(k, 1, 1))
        """Cholesky factors of Q_k, their diagonals as logarithms."""
        self.initial = nn.Parameter(torch.zeros(k))
        leave = math.log((1 - config.sticky_p_stay) / max(1, k - 1))
        self.switch = nn.Parameter(torch.full((k, k), leave).fill_diagonal_(math.log(config.sticky_p_stay)))
        self.memory = nn.GRU(p, config.hidden, batch_first=True) if k > 1 else None
        self.evidence = nn.Linear(config.hidden, k) if k > 1 and config.regimes != "filter" else None
        for parameter in () if self.evidence is None else self.evidence.parameters():
            nn.init.zeros_(parameter)  # at the start the filters alone speak
        self.pull = nn.Linear(config.hidden, k) if k > 1 and config.transition == "recurrent" else None
        self.R = nn.Buffer(config.emission_variance * torch.eye(p), persistent=False)
        self.P0 = nn.Buffer(config.initial_variance * torch.eye(n), persistent=False)
        self.m0 = nn.Buffer(torch.zeros(n), persistent=False)

    # ---- q(a | x) and p(x | a) -------------------------------------------------------------------------------------

    def posterior_of(self, video: Tensor) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"]]:
        """Return mean and variance of q(a_t | x_t) for every frame; the variance lies below R."""
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

    # ---- regimes ---------------------------------------------------------------------------------------------------

    def matrices(self) -> Regimes:
        """Return the matrices of every regime."""
        root = self.log_root.tril(-1) + torch.diag_embed(self.log_root.diagonal(dim1=-2, dim2=-1).exp())
        return Regimes(A=self.A, B=self.B, C=self.C, root=root, R=self.R, m0=self.m0, P0=self.P0)

    def _transition(self, memory: Float[Tensor, "b t d"] | None, b: int, t: int) -> Float[Tensor, "b t k k"]:
        """Return log p(s_{t+1} = j | s_t = i, h_t)."""
        pulled = 0.0 if self.pull is None or memory is None else self.pull(memory)[..., None, :]
        return (self.switch + pulled).log_softmax(-1).expand(b, t, -1, -1)

    def track(
        self,
        a: Float[Tensor, "b t p"],
        mask: Bool[Tensor, "b t"] | None = None,
        action: Shaped[Tensor, "b t a"] | None = None,
    ) -> Tracked:
        """Run the bank of filters over the observed part of ``a``: the chain of the regimes, and what is known at each step.

        Where everything is observed, the GRU reads the whole sequence at once, otherwise step by step, as its inputs are
        then predictions of the bank.
        """
        if self.memory is not None and mask is not None:
            return self._track_hidden(a, mask, action)
        b, t, _ = a.shape
        memory = None if self.memory is None else self.memory(a)[0]
        log_initial, log_transition = self.initial.log_softmax(-1), self._transition(memory, b, t)[:, :-1]
        tilt = None if self.evidence is None or memory is None else self.evidence(memory)
        options = {"mask": mask, "u": self._control(action, a), "tilt": tilt}
        bank = filter_bank(self.matrices(), a, log_initial.exp(), log_transition.exp(), **options)
        return Tracked.of(bank, log_initial, log_transition, None if memory is None else memory[:, -1])

    def _track_hidden(self, a: Tensor, mask: Tensor, action: Tensor | None) -> Tracked:
        """Run the bank and the GRU together, step by step."""
        assert self.memory is not None
        (b, t, _), regimes, control = a.shape, self.matrices(), self._control(action, a)
        log_initial = self.initial.log_softmax(-1)
        prior, state = log_initial.exp().expand(b, -1), None
        k = prior.shape[1]
        mean, cov = self.m0.expand(b, k, -1), self.P0.expand(b, k, -1, -1)
        transitions, steps = [], []
        for i in range(t):
            if i > 0:
                prior = (steps[-1].weights[:, None] @ transitions[-1].exp())[:, 0]
                mean, cov = bank_ahead(
                    regimes, steps[-1].mean, steps[-1].cov, None if control is None else control[:, i]
                )
            seen = mask[:, i]
            read = torch.where(seen[:, None], a[:, i], mixture_mean(prior, apply(regimes.C, mean)))
            memory, state = self.memory(read[:, None], state)
            tilt = None if self.evidence is None else torch.where(seen[:, None], self.evidence(memory[:, 0]), 0.0)
            steps.append(bank_update(regimes, prior, mean, cov, read, seen, tilt)[0])
            transitions.append(self._transition(memory, b, 1)[:, 0])
        log_transition = torch.stack(transitions, 1)[:, :-1]
        return Tracked.of(stacked(steps), log_initial, log_transition, None if state is None else state[0])

    def _control(self, action: Tensor | None, like: Float[Tensor, "b t p"]) -> Float[Tensor, "b t a"] | None:
        """Return what B acts on: the action that leads into step t (none: 0) and 1 for the offset; ``None`` without B."""
        if self.B is None:
            return None
        u = like.new_zeros(*like.shape[:2], self.config.control)
        if action is not None and self.config.control:
            u = F.pad(action[:, :-1].float(), (0, 0, 1, 0))
        return F.pad(u, (0, int(self.config.offset)), value=1.0)

    # ---- training --------------------------------------------------------------------------------------------------

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative objective per observed frame and its terms.

            -[w log p(x | a) - log q(a | x) + L(a) - KL(q(s | a) || p(s))],    one sample of a

        Under ``regimes="filter"`` L(a) = sum_t E_q[psi_t(s_t)], so that L - KL = log Z: with w = 1 a lower bound of log p(x)
        under the collapsed model. Under ``"mean-field"`` L(a) = log int exp E_q(s)[log p(a, z | s)] dz: a lower bound under
        the switching model itself. Under ``"gumbel-softmax"`` L(a) = log p(a | y) at one relaxed path y; in eval mode it is
        the mean-field bound. In eval mode w = 1, schedules are at their end, and the noise of a is fixed.
        """
        config, training = self.config, self.training
        video, mask = seen_frames(batch, config.frame, "switching-kvae")
        mask = hidden_in_training(mask, video, config.missing, config.observe_first) if training else mask
        mean, variance = self.posterior_of(video)
        generator = None if training else torch.Generator(video.device).manual_seed(0)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        a = mean + variance.sqrt() * noise
        log_x = frame_log_likelihood(self.decode(a), video, config.likelihood, config.pixel_variance)
        log_q = gaussian_log_likelihood(a, mean, variance).sum(-1)

        with torch.autocast(a.device.type, enabled=False):  # small matrices want float32
            control = self._control(batch.action, a)
            tracked = self.track(a, mask, batch.action)
            with torch.set_grad_enabled(torch.is_grad_enabled() and config.regimes != "filter"):
                q = tracked.chain.posterior()
                divergence = tracked.chain.divergence(q)
            if config.regimes == "filter":
                log_a = tracked.bank.log_likelihood.sum(1) + divergence
            elif training and config.regimes == "gumbel-softmax":
                system = collapse(self.matrices(), relaxed_path(q, config.tau(step)))
                log_a = kalman_filter(system, a, mask=mask, u=control).log_likelihood.sum(1)
            else:
                log_a = mean_field_bound(self.matrices(), q.probability, a, mask, control)

        observed = torch.ones_like(log_q) if mask is None else mask.to(log_q.dtype)
        count = observed.sum().clamp(min=1)
        log_x, log_q = ((term * observed).sum() / count for term in (log_x, log_q))
        log_a, divergence = log_a.sum() / count, divergence.sum() / count
        objective = (config.reconstruction_weight if training else 1.0) * log_x - log_q + log_a - divergence
        terms = {"log_p_x": log_x, "log_q_a": log_q, "log_p_a": log_a, "kl_regimes": divergence}
        terms["elbo"] = log_x - log_q + log_a - divergence
        terms["active_units"] = (mean.detach().flatten(0, 1).var(0) > 1e-2).sum().float()
        terms["regimes_used"] = torch.special.entr(q.probability.detach().mean((0, 1))).sum().exp()
        return -objective, {name: value.detach() for name, value in terms.items()}

    # ---- questions -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def infer(self, batch: SequenceBatch) -> dict[str, Tensor]:
        """Return everything that is inferred from the observed frames, means throughout.

        ``a`` is encoded, or predicted where missing; ``a_filter`` and ``a_smooth`` are expected emissions; ``weights`` are the
        marginals of the regimes given all that is observed, ``weights_filter`` given the past and present. The filter is the
        bank's, so that nothing in it depends on later frames; the smoother goes back over the same Gaussians.
        """
        video, mask = seen_frames(batch, self.config.frame, "switching-kvae")
        a, _ = self.posterior_of(video)
        with torch.autocast(a.device.type, enabled=False):  # small matrices want float32
            tracked = self.track(a, mask, batch.action)
            weights = tracked.chain.posterior().probability
            regimes, known, chain = self.matrices(), tracked.bank, tracked.chain
            control = self._control(batch.action, a)
            moves = chain.log_initial.exp(), chain.log_transition.exp()
            expected = bank_predictions(regimes, known, *moves, control)
            smoothed = smooth_bank(regimes, known, expected)
            predicted = mixture_mean(expected.prior, apply(regimes.C, expected.mean))
            prior, mean, cov, y = (x.flatten(0, 1) for x in (expected.prior, expected.mean, expected.cov, a))
            _, each = bank_update(regimes, prior, mean, cov, y, None if mask is None else mask.flatten())
            emitted = mixture_mean(known.weights, apply(regimes.C, each.unflatten(0, a.shape[:2])))
            a_smooth = mixture_mean(weights, apply(regimes.C, smoothed.mean[:, :, None]))
        return {
            "a": a if mask is None else torch.where(mask[..., None], a, predicted),
            "a_filter": emitted,
            "a_smooth": a_smooth,
            "z_filter": known.mean,
            "z_smooth": smoothed.mean,
            "weights": weights,
            "weights_filter": known.weights,
        }

    @torch.no_grad()
    def regimes(self, batch: SequenceBatch) -> Int[Tensor, "b t"]:
        """Return the most likely path of regimes of every sequence."""
        video, mask = seen_frames(batch, self.config.frame, "switching-kvae")
        chain = self.track(self.posterior_of(video)[0], mask, batch.action).chain
        return viterbi(chain.log_initial, chain.log_transition, chain.potential)

    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return ``z_smooth``, ``z_filter``, ``a``, ``a_smooth`` and the ``weights`` of the regimes given all frames."""
        inferred = self.infer(batch)
        return {name: inferred[name] for name in ("z_smooth", "z_filter", "a", "a_smooth", "weights")}

    @torch.no_grad()
    def reconstruct(self, batch: SequenceBatch) -> Float[Tensor, "b t c h w"]:
        """Return each frame decoded from its own encoding."""
        video, _ = seen_frames(replace(batch, mask=None, length=None), self.config.frame, "switching-kvae")
        return self.frames(self.posterior_of(video)[0])

    def impute(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t c h w"]]:
        """Return all frames decoded from C m_{t|T} (``smooth``) and, with the filter's regimes, C m_{t|t} (``filter``)."""
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
        """Roll the bank of filters forward from the last frame of the context; the GRU reads its own predictions.

        ``action[:, 0]`` acts from the first forecast frame on; the context's last action leads into it. Without a generator
        the probabilities of the regimes are rolled by the chain and every noise is zero; with one, the last regime and
        state, the regimes, the transitions and the emissions are sampled.
        """
        actions = leading_actions(context.action, action, horizon) if self.config.control else None
        video, mask = seen_frames(context, self.config.frame, "switching-kvae")
        tracked, regimes = self.track(self.posterior_of(video)[0], mask, context.action), self.matrices()

        def repeated(x: Tensor) -> Tensor:
            return x.expand(samples, *x.shape).flatten(0, 1)

        def noise(like: Tensor) -> Tensor:
            return torch.zeros_like(like) if generator is None else torch.empty_like(like).normal_(generator=generator)

        def drawn(weights: Tensor) -> Tensor:
            if generator is not None:
                weights = F.one_hot(weights.multinomial(1, generator=generator)[:, 0], weights.shape[1]).to(weights)
            return weights

        z, cov = repeated(tracked.bank.mean[:, -1]), repeated(tracked.bank.cov[:, -1])
        z = z + apply(square_root(cov), noise(z))
        weights = drawn(repeated(tracked.bank.weights[:, -1]))
        memory = None if tracked.memory is None else repeated(tracked.memory)[:, None]
        pushes = z.new_zeros(len(z), horizon, self.config.control) if actions is None else repeated(actions)
        pushes = F.pad(pushes, (0, int(self.config.offset)), value=1.0)
        rolled = []
        for i in range(horizon):
            weights = drawn((weights[:, None] @ self._transition(memory, len(z), 1)[:, 0].exp())[:, 0])
            means, _ = bank_ahead(regimes, z, cov, pushes[:, i])
            means = means + apply(regimes.root, noise(z)[:, None])
            z, a = mixture_mean(weights, means), mixture_mean(weights, apply(regimes.C, means))
            a = a + math.sqrt(self.config.emission_variance) * noise(a)
            memory = None if memory is None or self.memory is None else self.memory(a[:, None], memory[:, 0][None])[0]
            rolled.append(a)
        return self.frames(torch.stack(rolled, dim=1)).unflatten(0, (samples, -1))
