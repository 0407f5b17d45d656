"""Estimation of switching linear dynamics: initial guesses and expectation-maximisation."""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.models.slds_posterior import (
    Posterior,
    Sequences,
    States,
    expected_log_transition,
    expected_residuals,
    infer_modes,
    infer_states,
    interpolated,
    point_estimate,
    points,
)
from dynarium.ssm.discrete import Marginals
from dynarium.ssm.kmeans import kmeans

if TYPE_CHECKING:
    from dynarium.models.slds import SLDS

NEWTON_STEPS = 10
"""Largest number of steps of an M-step on the recurrent weights."""


@dataclass(frozen=True, kw_only=True)
class EMConfig:
    """Options of the estimation.

    Attributes:
        iterations: Iterations of EM; 0: only the initial guess.
        tolerance: Stop when the bound per step gains less than this; 0: never.
        restarts: First guesses of the modes; the one of the highest autoregressive likelihood is taken. Every second one
            begins with clusters of places, the others with clusters of places and steps.
        restart_iterations: EM iterations of the autoregressive model that each first guess gets.
        sequences: Use at most about so many sequences; ``None``: one whole pass.
        min_variance: Smallest variance of a noise: of the state, whose own variance is 1 at first, and of an observation
            as a share of that observation's variance.
        recurrent_penalty: Precision of the normal prior of the recurrent weights R and W.
    """

    iterations: int = 100
    tolerance: float = 1e-5
    restarts: int = 5
    restart_iterations: int = 25
    sequences: int | None = 500
    min_variance: float = 1e-8
    recurrent_penalty: float = 1e-3

    def __post_init__(self) -> None:
        if self.restarts < 1 or self.iterations < 0 or self.restart_iterations < 1:
            raise UserError("model.em: expected restarts >= 1, restart_iterations >= 1 and iterations >= 0")
        if self.min_variance <= 0:
            raise UserError(f"model.em.min_variance: expected a variance above 0, got {self.min_variance}")


@torch.no_grad()
def fit(model: "SLDS", sequences: Sequences, config: EMConfig, seed: int) -> list[float]:
    """Estimate all parameters; return the bound per observed step after every E-step.

    Without recurrence the bound never falls: q(x), q(z) and every parameter are in turn set to their optimum.
    """
    states, floor = start(model, sequences, config, seed)
    count, bounds = sequences.count, []
    modes = infer_modes(model.potentials, states, sequences)
    mean = states.mean
    for _ in range(config.iterations):
        states = infer_states(model.potentials, modes, mean, sequences)
        modes = infer_modes(model.potentials, states, sequences)
        posterior = Posterior(states=states, modes=modes)
        bounds.append(float(posterior.total(model.potentials, sequences).sum() / count))
        maximise_emission(model, states, sequences, floor)
        maximise_first(model, posterior, config)
        maximise_dynamics(model, posterior, sequences, config)
        maximise_transitions(model, posterior, config)
        mean = states.mean
        if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < config.tolerance:
            break
    return bounds


# ---- first guesses -----------------------------------------------------------------------------------------------------


def start(model: "SLDS", sequences: Sequences, config: EMConfig, seed: int) -> tuple[States, Float[Tensor, " p"]]:
    """Set the parameters to a first guess; return the projected states and the least variance of each observation.

    States are the first principal components, scaled to variance 1; modes are those of the best of several autoregressive
    hidden Markov models of these states, recurrent if the model is, whose first modes are in turn clusters of (state, step)
    and of the state alone: modes that differ in how they move, and modes that live in different places.
    """
    x, floor = _principal(model, sequences, config)
    states, posterior = points(x), None
    generator = torch.Generator().manual_seed(seed)
    best, best_score = None, -math.inf
    for restart in range(config.restarts if model.config.modes > 1 else 1):
        modes = _clustered(states, sequences, model.config.modes, generator, steps=restart % 2 == 0)
        if model.W is not None:
            model.assign(W=torch.zeros_like(model.W))
        score = -math.inf
        for _ in range(config.restart_iterations if model.config.modes > 1 else 1):
            posterior = Posterior(states=states, modes=modes)
            maximise_dynamics(model, posterior, sequences, config)
            maximise_transitions(model, posterior, config)
            modes = infer_modes(model.potentials, states, sequences)
            score = float(modes.log_normaliser.sum())
        if score > best_score:
            best, best_score = {name: value.clone() for name, value in model.state_dict().items()}, score
    assert best is not None and posterior is not None
    model.load_state_dict(best)
    maximise_first(model, posterior, config)
    return point_estimate(model.potentials, sequences), floor


def _principal(model: "SLDS", sequences: Sequences, config: EMConfig) -> tuple[Tensor, Tensor]:
    """Set the emission to the principal components of the observations; return the states and the variances' floor.

    A state of more dimensions than the observation is that of windows of several steps.
    """
    n, p = model.config.state, model.config.observation
    y, seen = interpolated(sequences.y, sequences.seen), sequences.seen.any(-1)
    lags = 1 if n <= p else -(-n // p) + 1
    index = (torch.arange(y.shape[1], device=y.device)[:, None] - torch.arange(lags, device=y.device)).clamp(min=0)
    windows = y[:, index].flatten(2)
    rows = windows[seen]
    mean = rows.mean(0)
    centred = rows - mean
    _, size, axes = torch.linalg.svd(centred, full_matrices=False)
    kept = min(n, len(size))
    scale = (size[:kept] / math.sqrt(len(rows))).clamp(min=1e-12)
    x = (windows - mean) @ axes[:kept].mT / scale
    x = torch.cat([x, x.new_zeros(*x.shape[:2], n - kept)], -1)
    variance = y[seen].var(0, correction=0)
    floor = config.min_variance * variance.clamp(min=torch.finfo(y.dtype).tiny ** 0.5)
    maximise_emission(model, points(x), sequences, floor)
    return x, floor


def _clustered(states: States, sequences: Sequences, k: int, generator: torch.Generator, *, steps: bool) -> Marginals:
    """Return a first guess of q(z): clusters of where the state is and perhaps how it moves, each scaled to variance 1."""
    x = states.mean
    features = torch.cat([x[:, :-1], x.diff(dim=1)], -1) if steps else x[:, :-1]
    used = sequences.valid[:, 1:]
    rows = features[used]
    features = (features - rows.mean(0)) / rows.std(0, correction=0).clamp(min=1e-12)
    label = torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device)
    label[:, 1:][used] = kmeans(features[used], k, generator)[0]
    label[:, 0] = label[:, min(1, x.shape[1] - 1)]
    q = torch.nn.functional.one_hot(label, k).to(x.dtype)
    pair = q[:, :-1, :, None] * q[:, 1:, None, :] * used[..., None, None]
    zero = x.new_zeros(len(x))
    return Marginals(probability=q, pair=pair, log_normaliser=zero, entropy=zero)


# ---- the M-step --------------------------------------------------------------------------------------------------------


def maximise_emission(model: "SLDS", states: States, sequences: Sequences, floor: Float[Tensor, " p"]) -> None:
    """Set C, d and S: the regression of each sensor on the states of the steps at which it is observed."""
    rows = sequences.seen.any(-1)
    mean, cov, y = states.mean[rows], states.cov[rows], sequences.y[rows]
    seen = sequences.seen[rows].to(y.dtype)
    design = torch.cat([mean, mean.new_ones(len(mean), 1)], -1)
    second = torch.einsum("mp,mi,mj->pij", seen, design, design)
    n = mean.shape[-1]
    spread = torch.einsum("mp,mij->pij", seen, cov)
    second[:, :n, :n] += spread
    weights = _regression(second, torch.einsum("mp,mi->pi", seen * y, design)[..., None])[..., 0]
    C, d = weights[:, :-1], weights[:, -1]
    squares = (seen * (y - mean @ C.mT - d).square()).sum(0) + torch.einsum("pi,pij,pj->p", C, spread, C)
    model.assign(C=C, d=d, S=torch.maximum(squares / seen.sum(0).clamp(min=1), floor))


def maximise_first(model: "SLDS", posterior: Posterior, config: EMConfig) -> None:
    """Set m0, P0: the moments of the first states."""
    first, cov = posterior.states.mean[:, 0], posterior.states.cov[:, 0]
    m0 = first.mean(0)
    centred = first - m0
    model.assign(m0=m0, P0=_at_least(centred.mT @ centred / len(first) + cov.mean(0), config.min_variance))


def maximise_dynamics(model: "SLDS", posterior: Posterior, sequences: Sequences, config: EMConfig) -> None:
    """Set A, b and Q of every mode: weighted regressions of x_t on x_{t-1}. A mode that hardly occurs keeps its own."""
    states, n = posterior.states, model.config.state
    q = sequences.valid[:, 1:, None] * posterior.modes.probability[:, 1:]
    before, after = states.mean[:, :-1], states.mean[:, 1:]
    design = torch.cat([before, before.new_ones(*before.shape[:2], 1)], -1)
    second = torch.einsum("btk,bti,btj->kij", q, design, design)
    second[:, :n, :n] += torch.einsum("btk,btij->kij", q, states.cov[:, :-1])
    first = torch.einsum("btk,bti,btj->kij", q, design, after)
    first[:, :n] += torch.einsum("btk,btji->kij", q, states.cross_cov)
    share = q.sum((0, 1))
    used = share > n + 1
    if not bool(used.any()):
        return
    weights = _regression(second[used], first[used])
    A, b = model.A.clone(), model.b.clone()
    A[used], b[used] = weights[:, :-1].mT, weights[:, -1]
    model.assign(A=A, b=b)
    outer = torch.einsum("btk,btkij->kij", q, expected_residuals(model.potentials, states))
    Q = model.potentials.Q_root @ model.potentials.Q_root.mT
    Q[used] = _at_least(outer[used] / share[used, None, None], config.min_variance)
    model.assign(Q=Q)


def maximise_transitions(model: "SLDS", posterior: Posterior, config: EMConfig) -> None:
    """Set the transitions: counts, or with recurrence a logistic regression by Newton steps, halved until they gain."""
    if model.W is None:
        _maximise_chain(model, posterior.modes)
        return
    model.assign(initial=_log_share(posterior.modes.probability[:, 0].mean(0)))
    states, pair = posterior.states, posterior.modes.pair
    R, W = model.R.detach().clone(), model.W.detach().clone()
    rows = pair.sum((-1, -2)) > 0
    scale = float(pair.sum().clamp(min=1))
    chosen = States(
        mean=torch.stack([states.mean[:, :-1][rows], states.mean[:, 1:][rows]], 1),
        cov=torch.stack([states.cov[:, :-1][rows], states.cov[:, 1:][rows]], 1),
        cross_cov=states.cross_cov[rows][:, None],
        entropy=states.mean.new_zeros(int(rows.sum())),
    )
    weights, base = pair[rows], model.potentials

    def objective(R: Tensor, W: Tensor) -> Tensor:
        expected = expected_log_transition(replace(base, R=R, W=W), chosen)[:, 0]
        penalty = 0.5 * config.recurrent_penalty * (R.square().sum() + W.square().sum())
        return (penalty - (weights * expected).sum()) / scale

    for _ in range(NEWTON_STEPS):
        with torch.enable_grad():
            value = objective(R.requires_grad_(), W.requires_grad_())
            slope = torch.cat([g.flatten() for g in torch.autograd.grad(value, [R, W])])
        R, W, before = R.detach(), W.detach(), float(value.detach())
        curvature = _transition_curvature(R, W, chosen.mean[:, 0], weights.sum(-1)) / scale
        curvature.diagonal().add_(config.recurrent_penalty / scale)
        step = -torch.linalg.solve(curvature, slope)
        size = 1.0
        while size > 1e-4:
            moved = R + size * step[: R.numel()].view_as(R), W + size * step[R.numel() :].view_as(W)
            if (after := float(objective(*moved))) < before:
                break
            size /= 2
        else:
            break
        R, W = moved
        if before - after < 1e-9:
            break
    model.assign(R=R, W=W)


def _transition_curvature(R: Tensor, W: Tensor, x: Float[Tensor, "m n"], weights: Float[Tensor, "m k"]) -> Tensor:
    """Return the Hessian in (R, W) of ``sum_ti weights_ti logsumexp(R_i + W x_t)``: that of known states."""
    k, n = W.shape
    p = (R + (x @ W.mT)[:, None, :]).softmax(-1)
    spread = weights[..., None, None] * (torch.diag_embed(p) - p[..., :, None] * p[..., None, :])
    hessian = R.new_zeros(k * k + k * n, k * k + k * n)
    hessian[: k * k, : k * k] = torch.block_diag(*spread.sum(0))
    cross = torch.einsum("mikl,mn->ikln", spread, x).reshape(k * k, k * n)
    hessian[: k * k, k * k :], hessian[k * k :, : k * k] = cross, cross.mT
    hessian[k * k :, k * k :] = torch.einsum("mkl,mn,mo->knlo", spread.sum(1), x, x).reshape(k * n, k * n)
    return hessian


def _maximise_chain(model: "SLDS", modes: Marginals) -> None:
    """Set the transitions without recurrence: shares of the expected counts."""
    counts = modes.pair.sum((0, 1))
    R = _log_share(counts / counts.sum(-1, keepdim=True).clamp(min=1e-12))
    unused = counts.sum(-1) <= 0
    R[unused] = model.R[unused]
    model.assign(R=R, initial=_log_share(modes.probability[:, 0].mean(0)))


def _log_share(share: Tensor) -> Tensor:
    """Return logarithms of shares; one of 0 counts as one of 1e-10, so that a mode can return."""
    return share.clamp(min=1e-10).log()


def _regression(second: Float[Tensor, "*k i i"], first: Float[Tensor, "*k i j"]) -> Float[Tensor, "*k i j"]:
    """Solve the normal equations, also where they are singular."""
    return torch.linalg.lstsq(second, first, driver="gelsd").solution


def _at_least(cov: Float[Tensor, "*k n n"], floor: float) -> Float[Tensor, "*k n n"]:
    """Return covariances with every eigenvalue at least ``floor``: the most likely ones that are."""
    values, vectors = torch.linalg.eigh(0.5 * (cov + cov.mT))
    return (vectors * values.clamp(min=floor)[..., None, :]) @ vectors.mT
