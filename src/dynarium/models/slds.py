"""Switching linear dynamics: modes, each with linear dynamics, seen through one linear map (Linderman et al. 2017)."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.slds_learning import EMConfig, fit
from dynarium.models.slds_posterior import (
    Posterior,
    Potentials,
    Sequences,
    infer_modes,
    infer_states,
    most_likely_modes,
    point_estimate,
)
from dynarium.ssm.model import apply
from dynarium.types import SequenceBatch


@dataclass(frozen=True, kw_only=True)
class SLDSConfig:
    """Options of the model.

    Attributes:
        modes: Number of modes K; 1: a plain linear dynamical system.
        state: Dimension of the continuous state.
        recurrent: The next mode depends on the state as well as on the mode; without effect for one mode.
        observation: Dimension of the observation; the data decide it.
        inference_steps: Largest number of alternations between q(x) and q(z) when sequences are inferred from scratch.
        tolerance: Alternation stops when the bound per step gains less than this.
        em: How the parameters are estimated before the trainer takes over.
    """

    modes: int = 4
    state: int = 2
    recurrent: bool = True
    observation: int = 1
    inference_steps: int = 20
    tolerance: float = 1e-6
    em: EMConfig = field(default_factory=EMConfig)

    def __post_init__(self) -> None:
        for name in ("modes", "state", "observation", "inference_steps"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: expected at least 1, got {getattr(self, name)}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SLDSConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data have no observations.
        """
        if "observation" not in shapes:
            raise UserError(f"slds needs the field 'observation'; the data has {', '.join(shapes) or 'no fields'}")
        return replace(self, observation=shapes["observation"][-1])

    def build(self) -> "SLDS":
        """Create the model."""
        return SLDS(self)


class SLDS(nn.Module):
    """A (recurrent) switching linear dynamical system in float64.

    ::

        p(z_t = j | z_{t-1} = i, x_{t-1}) = softmax_j(R_ij + W_j x_{t-1})      W = 0 without recurrence
        x_t = A_k x_{t-1} + b_k + N(0, Q_k),   k = z_t,   x_1 ~ N(m0, P0)
        y_t = C x_t + d + N(0, S),   S diagonal

    So mode t is the one that led *into* step t, and the first one leads into nothing. (Linderman et al. 2017, eq. 1-4, with
    a softmax for their stick breaking, as it does not depend on the order of the modes.)

    The posterior is approximated by q(z) q(x) (Ghahramani & Hinton 2000), a Markov chain and a Gaussian chain, each of them
    inferred exactly given the other one; with recurrence q(x) is a Laplace approximation (Zoltowski et al. 2020). For K = 1
    everything is exact. The parameters are estimated by :meth:`prepare` (EM), or by gradients of :meth:`loss`, or both.
    """

    def __init__(self, config: SLDSConfig) -> None:
        super().__init__()
        self.config = config
        k, n, p = config.modes, config.state, config.observation
        f64 = torch.float64
        self.A = nn.Parameter(0.95 * torch.eye(n, dtype=f64).repeat(k, 1, 1))
        self.b = nn.Parameter(0.1 * torch.randn(k, n, dtype=f64))
        self.Q_root = nn.Parameter(raw_root(0.1 * torch.eye(n, dtype=f64).repeat(k, 1, 1)))
        self.C = nn.Parameter(torch.randn(p, n, dtype=f64) / math.sqrt(n))
        self.d = nn.Parameter(torch.zeros(p, dtype=f64))
        self.log_S = nn.Parameter(torch.zeros(p, dtype=f64))
        self.m0 = nn.Parameter(torch.zeros(n, dtype=f64))
        self.P0_root = nn.Parameter(raw_root(torch.eye(n, dtype=f64)))
        self.initial = nn.Parameter(torch.zeros(k, dtype=f64))
        self.R = nn.Parameter(math.log(20.0) * torch.eye(k, dtype=f64))
        self.W = nn.Parameter(torch.zeros(k, n, dtype=f64)) if config.recurrent and k > 1 else None

    @property
    def potentials(self) -> Potentials:
        """The parameters as matrices, differentiable."""
        return Potentials(
            A=self.A,
            b=self.b,
            Q_root=root_of(self.Q_root),
            C=self.C,
            d=self.d,
            S=self.log_S.exp(),
            m0=self.m0,
            P0_root=root_of(self.P0_root),
            log_initial=self.initial.log_softmax(-1),
            R=self.R,
            W=self.W,
        )

    def with_modes(self, modes: int) -> "SLDS":
        """Return a fresh model with another number of modes."""
        return replace(self.config, modes=modes).build()

    # ---- learning ----------------------------------------------------------------------------------------------------

    def prepare(self, batches: Iterable[SequenceBatch], seed: int = 0) -> list[float]:
        """Estimate the parameters by EM on all sequences at once; return the bound per observed step of every iteration."""
        parts = []
        for batch in batches:
            parts.append(self.sequences(batch))
            if self.config.em.sequences is not None and sum(len(part.y) for part in parts) >= self.config.em.sequences:
                break
        return fit(self, Sequences.joined(parts), self.config.em, seed)

    def assign(self, **matrices: Tensor) -> None:
        """Set parameters: by name, covariances as ``Q`` and ``P0``, the emission's variances as ``S``."""
        roots = {"Q": self.Q_root, "P0": self.P0_root}
        with torch.no_grad():
            for name, value in matrices.items():
                if name in roots:
                    roots[name].copy_(raw_root(value))
                elif name == "S":
                    self.log_S.copy_(value.log())
                else:
                    getattr(self, name).copy_(value)

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the negative bound per observed step.

        The bound is maximal in q, so that its gradient is that at fixed q: nothing is differentiated through inference.
        """
        sequences = self.sequences(batch)
        posterior = self.infer(sequences)
        terms = posterior.bound(self.potentials, sequences)
        count = sequences.count
        bound = sum((value.sum() for value in terms.values()), torch.zeros((), dtype=torch.float64)) / count
        named = {name: (value.sum() / count).detach() for name, value in terms.items()}
        return -bound, named | {"bound": bound.detach()}

    def bound(self, batch: SequenceBatch) -> Float[Tensor, " b"]:
        """Return the lower bound of log p(y) of every sequence, in nats; log p(y) itself for one mode."""
        with torch.no_grad():
            sequences = self.sequences(batch)
            return self.infer(sequences).total(self.potentials, sequences)

    # ---- inference ---------------------------------------------------------------------------------------------------

    def sequences(self, batch: SequenceBatch) -> Sequences:
        """Return the observations in float64, 0 where hidden, and which are observed and exist: hidden is also what is NaN.

        Raises:
            UserError: The batch has no observations, or of another dimension.
        """
        if batch.observation is None:
            raise UserError(f"slds needs the field 'observation'; the batch has {', '.join(batch.present())}")
        if batch.observation.shape[-1] != self.config.observation:
            wanted, got = self.config.observation, batch.observation.shape[-1]
            raise UserError(f"observation: {wanted} dimensions wanted, got {got}")
        y = batch.observation.to(self.A)
        b, t = y.shape[:2]
        whole = torch.full((b,), t, device=y.device)
        lengths = whole if batch.length is None else batch.length.to(whole)
        known = batch.observed()
        seen = ~y.isnan() if known is None else known.to(y.device)[..., None] & ~y.isnan()
        return Sequences(y=torch.where(seen, y, 0.0), seen=seen, lengths=lengths)

    @torch.no_grad()
    def infer(self, sequences: Sequences) -> Posterior:
        """Return q(z) and q(x) of sequences, from scratch: q(z) given projected states first, then in turns."""
        potentials = self.potentials
        states = point_estimate(potentials, sequences)
        modes = infer_modes(potentials, states, sequences)
        states = infer_states(potentials, modes, states.mean, sequences)
        if self.config.modes == 1:
            return Posterior(states=states, modes=modes)
        count, before = sequences.count, -math.inf
        for _ in range(self.config.inference_steps):
            modes = infer_modes(potentials, states, sequences)
            bound = float(Posterior(states=states, modes=modes).total(potentials, sequences).sum() / count)
            if bound - before < self.config.tolerance:
                break
            before = bound
            states = infer_states(potentials, modes, states.mean, sequences)
        return Posterior(states=states, modes=infer_modes(potentials, states, sequences))

    # ---- questions ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def segment(self, batch: SequenceBatch) -> Int[Tensor, "b t"]:
        """Return the most likely path of modes of every sequence (Viterbi), given q(x)."""
        sequences = self.sequences(batch)
        return most_likely_modes(self.potentials, self.infer(sequences).states, sequences)

    @torch.no_grad()
    def encode(self, batch: SequenceBatch) -> dict[str, Float[Tensor, "b t _"]]:
        """Return the smoothed states ``x`` and the probabilities ``modes``."""
        posterior = self.infer(self.sequences(batch))
        return {"x": posterior.states.mean, "modes": posterior.modes.probability}

    @torch.no_grad()
    def smooth(self, batch: SequenceBatch) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t p"]]:
        """Return mean and variance of y_t without its noise given all that is observed, hidden steps included."""
        states = self.infer(self.sequences(batch)).states
        return apply(self.C, states.mean) + self.d, (self.C @ states.cov * self.C).sum(-1)

    @torch.no_grad()
    def forecast_observations(
        self,
        context: SequenceBatch,
        horizon: int,
        *,
        samples: int = 1,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "s b f p"]:
        """Return ``samples`` continuations of ``horizon`` observations.

        Without a generator means are rolled out: the probabilities of the modes follow from the mean of the state before,
        and the mean of the state from them. With one, modes, states and noise are drawn, the last state and mode of the
        context too.
        """
        sequences = self.sequences(context)
        posterior, b = self.infer(sequences), len(sequences.y)
        last = sequences.lengths - 1
        rows = torch.arange(b, device=last.device)
        mean, cov, modes = (
            part[rows, last].repeat(samples, *(1,) * (part.ndim - 2))
            for part in (posterior.states.mean, posterior.states.cov, posterior.modes.probability)
        )
        if generator is None:
            found = self._mean_roll_out(mean, modes, horizon)
        else:
            x = mean + apply(torch.linalg.cholesky(cov), _noise(mean, generator))
            found = self._ancestral(x, _drawn(modes, generator), horizon, generator)[0]
        return found.unflatten(0, (samples, b))

    @torch.no_grad()
    def sample(
        self, n: int, steps: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "b t p"], Float[Tensor, "b t n"], Int[Tensor, "b t"]]:
        """Draw ``n`` sequences from the model: observations, states, modes."""
        z = _drawn(self.initial.softmax(-1).expand(n, -1), generator)
        x = self.m0.expand(n, -1)
        x = x + apply(root_of(self.P0_root), _noise(x, generator))
        y = apply(self.C, x) + self.d
        y = y + self.log_S.mul(0.5).exp() * _noise(y, generator)
        ys, xs, zs = self._ancestral(x, z, steps - 1, generator)
        return torch.cat([y[:, None], ys], 1), torch.cat([x[:, None], xs], 1), torch.cat([z[:, None], zs], 1)

    def next_modes(self, x: Float[Tensor, "*b n"]) -> Float[Tensor, "*b k k"]:
        """Return p(z_t = j | z_{t-1} = i, x_{t-1}) for states x_{t-1}."""
        logits = self.R.expand(*x.shape[:-1], *self.R.shape)
        return (logits if self.W is None else logits + apply(self.W, x)[..., None, :]).softmax(-1)

    def vector_field(
        self, x: Float[Tensor, "m n"], mode: Int[Tensor, " m"] | None = None
    ) -> tuple[Float[Tensor, "m n"], Int[Tensor, " m"]]:
        """Return the step ``x_t - x_{t-1}`` that a mode takes at every state, and that mode; ``None``: the most likely one.

        The most likely mode is that of the stationary distribution of p(z_t | z_{t-1}, x_{t-1}): the one that the system
        would be found in if the state stood still. Where several modes persist that says little: then give the mode.
        """
        with torch.no_grad():
            found = mode
            if found is None:
                found = torch.linalg.matrix_power(self.next_modes(x), 1 << 12).mean(-2).argmax(-1)
            return apply(self.A[found], x) + self.b[found] - x, found

    def _mean_roll_out(self, x: Tensor, modes: Tensor, horizon: int) -> Tensor:
        rolled = []
        for _ in range(horizon):
            modes = (modes[:, None, :] @ self.next_modes(x))[:, 0]
            x = (modes[..., None] * (apply(self.A, x[:, None, :]) + self.b)).sum(1)
            rolled.append(apply(self.C, x) + self.d)
        return torch.stack(rolled, 1)

    def _ancestral(self, x: Tensor, z: Tensor, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw ``steps`` further steps from the state and mode before: observations, states, modes."""
        roots, noise = root_of(self.Q_root), self.log_S.mul(0.5).exp()
        drawn: tuple[list[Tensor], ...] = ([], [], [])
        rows = torch.arange(len(x), device=x.device)
        for _ in range(steps):
            z = _drawn(self.next_modes(x)[rows, z], generator)
            x = apply(self.A[z], x) + self.b[z] + apply(roots[z], _noise(x, generator))
            y = apply(self.C, x) + self.d
            for values, value in zip(drawn, (y + noise * _noise(y, generator), x, z), strict=True):
                values.append(value)
        shapes = (self.config.observation, self.config.state)
        empty = (*(x.new_zeros(len(x), 0, size) for size in shapes), z.new_zeros(len(x), 0))
        y, x, z = (torch.stack(values, 1) if values else none for values, none in zip(drawn, empty, strict=True))
        return y, x, z


def root_of(raw: Float[Tensor, "*k n n"]) -> Float[Tensor, "*k n n"]:
    """Return the Cholesky factor whose diagonal ``raw`` holds as logarithms."""
    return raw.tril(-1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def raw_root(cov: Float[Tensor, "*k n n"]) -> Float[Tensor, "*k n n"]:
    """Return the unconstrained parameters of a covariance: the inverse of :func:`root_of`, squared."""
    root = torch.linalg.cholesky(cov)
    return root.tril(-1) + torch.diag_embed(root.diagonal(dim1=-2, dim2=-1).log())


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


def _drawn(probability: Shaped[Tensor, "b k"], generator: torch.Generator) -> Int[Tensor, " b"]:
    return torch.multinomial(probability, 1, generator=generator)[:, 0]
