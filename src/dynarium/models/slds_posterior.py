"""Structured variational inference of switching linear dynamics: a Markov chain of modes times a Gaussian chain of states."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynarium.ssm.chain import Chain, solve_chain
from dynarium.ssm.discrete import Marginals, forward_backward, viterbi
from dynarium.ssm.model import apply
from dynarium.ssm.smoothing import Smoothed

NEWTON_STEPS = 8
HALVINGS = 12


@dataclass(frozen=True, kw_only=True)
class Potentials:
    """The parameters of the model as matrices; Q, P0 by their Cholesky factors, S as variances (``models/slds.py``)."""

    A: Float[Tensor, "k n n"]
    b: Float[Tensor, "k n"]
    Q_root: Float[Tensor, "k n n"]
    C: Float[Tensor, "p n"]
    d: Float[Tensor, " p"]
    S: Float[Tensor, " p"]
    m0: Float[Tensor, " n"]
    P0_root: Float[Tensor, "n n"]
    log_initial: Float[Tensor, " k"]
    R: Float[Tensor, "k k"]
    W: Float[Tensor, "k n"] | None


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Observed sequences.

    Attributes:
        y: Observations, 0 where hidden.
        seen: Which sensors are observed at which steps.
        lengths: Number of steps of each sequence.
    """

    y: Float[Tensor, "b t p"]
    seen: Bool[Tensor, "b t p"]
    lengths: Int[Tensor, " b"]

    @property
    def count(self) -> Float[Tensor, ""]:
        """Number of steps at which anything is observed, at least 1."""
        return self.seen.any(-1).sum().clamp(min=1).to(self.y.dtype)

    @property
    def valid(self) -> Bool[Tensor, "b t"]:
        """Which steps exist."""
        return torch.arange(self.y.shape[1], device=self.y.device) < self.lengths[:, None]

    @staticmethod
    def joined(parts: "list[Sequences]") -> "Sequences":
        """Return all sequences of several batches as one."""
        return Sequences(
            y=torch.cat([part.y for part in parts]),
            seen=torch.cat([part.seen for part in parts]),
            lengths=torch.cat([part.lengths for part in parts]),
        )


@dataclass(frozen=True, kw_only=True)
class States:
    """q(x): moments of the chain and its entropy; covariances of 0 make it a point estimate."""

    mean: Float[Tensor, "b t n"]
    cov: Float[Tensor, "b t n n"]
    cross_cov: Float[Tensor, "b s n n"]
    entropy: Float[Tensor, " b"]


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """q(x) q(z)."""

    states: States
    modes: Marginals

    def bound(self, parameters: Potentials, sequences: Sequences) -> dict[str, Float[Tensor, " b"]]:
        """Return the terms of the evidence lower bound of every sequence, differentiable in the parameters.

        ``E_q[log p(y | x) + log p(x | z) + log p(z | x)] + H[q(x)] + H[q(z)]``.
        """
        states, modes = self.states, self.modes
        residual = sequences.y - apply(parameters.C, states.mean) - parameters.d
        spread = (parameters.C @ states.cov * parameters.C).sum(-1)
        log_y = -0.5 * ((2 * math.pi * parameters.S).log() + (residual.square() + spread) / parameters.S)
        first = states.mean[:, :1] - parameters.m0
        outer = first[..., :, None] * first[..., None, :] + states.cov[:, :1]
        log_first = _expected_log_density(parameters.P0_root, outer)[:, 0]
        log_x = expected_log_dynamics(parameters, states)
        into = sequences.valid[:, 1:, None] * modes.probability[:, 1:]
        log_z = (modes.probability[:, 0] * parameters.log_initial).sum(-1)
        log_z = log_z + (modes.pair * expected_log_transition(parameters, states)).sum((1, 2, 3))
        return {
            "log_y": (sequences.seen * log_y).sum((1, 2)),
            "log_x": log_first + (into * log_x).sum((1, 2)),
            "log_z": log_z,
            "entropy_x": states.entropy,
            "entropy_z": modes.entropy.detach(),
        }

    def total(self, parameters: Potentials, sequences: Sequences) -> Float[Tensor, " b"]:
        """Return the evidence lower bound of every sequence, in nats."""
        return torch.stack(list(self.bound(parameters, sequences).values())).sum(0)


# ---- expectations under q(x) -------------------------------------------------------------------------------------------


def expected_residuals(parameters: Potentials, states: States) -> Float[Tensor, "b s k n n"]:
    """Return ``E[r r']``, ``r = x_t - A_k x_{t-1} - b_k``, of every step t > 1 and mode."""
    A = parameters.A
    moved = apply(A, states.mean[:, :-1, None]) + parameters.b
    r = states.mean[:, 1:, None] - moved
    cross = A @ states.cross_cov[:, :, None].mT
    spread = states.cov[:, 1:, None] - cross - cross.mT + A @ states.cov[:, :-1, None] @ A.mT
    return r[..., :, None] * r[..., None, :] + spread


def expected_log_dynamics(parameters: Potentials, states: States) -> Float[Tensor, "b s k"]:
    """Return ``E[log N(x_t; A_k x_{t-1} + b_k, Q_k)]`` of every step t > 1 and mode."""
    return _expected_log_density(parameters.Q_root, expected_residuals(parameters, states))


def expected_log_transition(parameters: Potentials, states: States) -> Float[Tensor, "#b #s k k"]:
    """Return a lower bound of ``E[log p(z_t = j | z_{t-1} = i, x_{t-1})]``; the value itself without recurrence.

    With nu = R_i + W x_{t-1} ~ N(m, V) the expectation of the normaliser is bounded by (Knowles & Minka 2011, eq. 10)::

        E[log sum_j exp nu_j] <= log sum_j exp(m_j + (e_j - a)' V (e_j - a) / 2),   any a

    at a = softmax(m), which makes it exact for V = 0 and indifferent to what is added to all nu_j.
    """
    if parameters.W is None:
        return parameters.R.log_softmax(-1)[None, None]
    W = parameters.W
    m = parameters.R + apply(W, states.mean[:, :-1])[..., None, :]
    V = W @ states.cov[:, :-1] @ W.mT
    a = m.softmax(-1)
    Va = a @ V
    spread = V.diagonal(dim1=-2, dim2=-1)[..., None, :] - 2 * Va + (a * Va).sum(-1, keepdim=True)
    return m - (m + 0.5 * spread).logsumexp(-1, keepdim=True)


def _expected_log_density(root: Float[Tensor, "*k n n"], outer: Float[Tensor, "b s *k n n"]) -> Tensor:
    """Return ``-(log det 2 pi Q + tr(Q^-1 E[r r'])) / 2`` of covariances with these Cholesky factors."""
    n = root.shape[-1]
    log_det = n * math.log(2 * math.pi) + 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return -0.5 * (log_det + (torch.cholesky_inverse(root) * outer).sum((-1, -2)))


# ---- the two halves of the E-step --------------------------------------------------------------------------------------


def infer_modes(parameters: Potentials, states: States, sequences: Sequences) -> Marginals:
    """Return the optimal q(z) given q(x): exact forward-backward with expected log-densities as evidence."""
    return forward_backward(*_evidence(parameters, states), sequences.lengths)


def most_likely_modes(parameters: Potentials, states: States, sequences: Sequences) -> Int[Tensor, "b t"]:
    """Return the most likely path of modes given q(x)."""
    return viterbi(*_evidence(parameters, states), sequences.lengths)


def _evidence(parameters: Potentials, states: States) -> tuple[Tensor, Tensor, Tensor]:
    into = expected_log_dynamics(parameters, states)
    evidence = torch.cat([torch.zeros_like(into[:, :1]), into], 1)
    if evidence.shape[1] == 1:
        evidence = into.new_zeros(len(into), 1, into.shape[-1])
    return parameters.log_initial, expected_log_transition(parameters, states), evidence


def infer_states(
    parameters: Potentials, modes: Marginals, mean: Float[Tensor, "b t n"], sequences: Sequences
) -> States:
    """Return q(x) given q(z): the optimal one, or with recurrence its Laplace approximation, searched from ``mean`` on.

    The mode of E_q(z)[log p(x, z, y)] is found by Newton's method: that function is concave, its Hessian is block-tridiagonal.
    A step that does not go up is halved, sequence by sequence.
    """
    chain = _linear_chain(parameters, modes, sequences)
    if parameters.W is None:
        found, log_det = solve_chain(chain)
        return _states(found, log_det, sequences)
    W, R, pair = parameters.W, parameters.R, modes.pair
    before, into = pair.sum(-1), pair.sum(-2)

    def height(x: Tensor) -> Tensor:
        logits = R + apply(W, x[:, :-1])[..., None, :]
        recurrent = (pair * logits.log_softmax(-1)).sum((1, 2, 3))
        quadratic = (x * (apply(chain.diagonal, x) / 2 - chain.linear)).sum((1, 2))
        return recurrent - quadratic - (x[:, 1:] * apply(chain.below, x[:, :-1])).sum((1, 2))

    mean = torch.where(sequences.valid[..., None], mean, 0.0)  # else the search would depend on what is no step
    found, log_det, best = None, None, height(mean)
    for _ in range(NEWTON_STEPS):
        p = (R + apply(W, mean[:, :-1])[..., None, :]).softmax(-1)
        weighted = before[..., None] * p
        slope = (into - weighted.sum(-2)) @ W
        curvature = W.mT @ (torch.diag_embed(weighted.sum(-2)) - weighted.mT @ p) @ W
        diagonal, linear = chain.diagonal.clone(), chain.linear.clone()
        diagonal[:, :-1] += curvature
        linear[:, :-1] += slope + apply(curvature, mean[:, :-1])
        found, log_det = solve_chain(Chain(diagonal=diagonal, below=chain.below, linear=linear))
        step = found.mean - mean
        size, reached = torch.ones_like(best), height(found.mean)
        for _ in range(HALVINGS):
            if not bool((reached < best).any()):
                break
            size = torch.where(reached < best, size / 2, size)
            reached = height(mean + size[:, None, None] * step)
        better = reached >= best
        mean = torch.where(better[:, None, None], mean + size[:, None, None] * step, mean)
        gain, best = (reached - best).clamp(min=0), torch.where(better, reached, best)
        if float((gain / sequences.lengths).max()) < 1e-9:
            break
    assert found is not None and log_det is not None
    moved = Smoothed(mean=mean, cov=found.cov, cross_cov=found.cross_cov)
    return _states(moved, log_det, sequences)


def _states(found: Smoothed, log_det: Tensor, sequences: Sequences) -> States:
    n = found.mean.shape[-1]
    entropy = 0.5 * (n * (1 + math.log(2 * math.pi)) * sequences.lengths - log_det.sum(1))
    return States(mean=found.mean, cov=found.cov, cross_cov=found.cross_cov, entropy=entropy)


def _linear_chain(parameters: Potentials, modes: Marginals, sequences: Sequences) -> Chain:
    """Return E_q(z)[log p(y, x | z)] as a quadratic function of x."""
    A, b = parameters.A, parameters.b
    W = torch.cholesky_inverse(parameters.Q_root)
    WA, Wb = W @ A, apply(W, b)
    valid, seen = sequences.valid, sequences.seen.to(A.dtype)
    q = valid[:, 1:, None] * modes.probability[:, 1:]

    def mixed(matrices: Tensor) -> Tensor:
        return (q @ matrices.flatten(1)).unflatten(-1, matrices.shape[1:])

    n = A.shape[-1]
    CS = parameters.C.mT / parameters.S
    diagonal = (CS * seen[..., None, :]) @ parameters.C
    linear = apply(CS, seen * (sequences.y - parameters.d))
    diagonal[:, 1:] += mixed(W)
    diagonal[:, :-1] += mixed(A.mT @ WA)
    linear[:, 1:] += mixed(Wb)
    linear[:, :-1] -= mixed(apply(A.mT, Wb))
    precision = torch.cholesky_inverse(parameters.P0_root)
    diagonal[:, 0] += precision
    linear[:, 0] += apply(precision, parameters.m0)
    beyond = ~valid[..., None, None]
    diagonal = torch.where(beyond, torch.eye(n, dtype=A.dtype, device=A.device), diagonal)
    return Chain(diagonal=diagonal, below=-mixed(WA), linear=linear)


def point_estimate(parameters: Potentials, sequences: Sequences) -> States:
    """Return each state as the one that explains its own observation best, which is interpolated where it is hidden."""
    CS = parameters.C.mT / parameters.S
    n = CS.shape[0]
    precision = CS @ parameters.C
    ridge = 1e-9 * precision.diagonal().mean() * torch.eye(n, dtype=CS.dtype, device=CS.device)
    y = interpolated(sequences.y - parameters.d, sequences.seen)
    return points(torch.linalg.solve(precision + ridge, apply(CS, y).mT).mT)


def points(x: Float[Tensor, "b t n"]) -> States:
    """Return states that are known without doubt."""
    b, t, n = x.shape
    return States(mean=x, cov=x.new_zeros(b, t, n, n), cross_cov=x.new_zeros(b, t - 1, n, n), entropy=x.new_zeros(b))


def interpolated(x: Float[Tensor, "b t p"], seen: Bool[Tensor, "b t p"]) -> Float[Tensor, "b t p"]:
    """Return the values with unseen ones interpolated linearly in time, held at the ends; 0 where nothing is ever seen."""
    t = x.shape[1]
    steps = torch.arange(t, device=x.device)[:, None].expand_as(x)
    before = torch.where(seen, steps, -1).cummax(1).values
    after = torch.where(seen, steps, t).flip(1).cummin(1).values.flip(1)
    left = torch.where(before >= 0, before, after).clamp(max=t - 1)
    right = torch.where(after < t, after, left)
    share = ((steps - left) / (right - left).clamp(min=1)).clamp(0, 1).to(x.dtype)
    known = torch.where(seen, x, 0.0)
    return (1 - share) * known.gather(1, left) + share * known.gather(1, right)
