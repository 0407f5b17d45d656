"""The bank of Kalman filters of a switching system: every regime predicts one step from a common past.

The generalised pseudo-Bayes filter of order 1 (Ackerson & Fu 1970; Bar-Shalom, Li & Kirubarajan 2001, section 11.6): what is
known of the state is one Gaussian, from which every regime predicts and is updated on its own; the mixture of the results
is collapsed to the Gaussian of the same mean and covariance, the past of the next step.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from dynarium.ssm.filtering import Filtered
from dynarium.ssm.mean_field import Regimes, mixed, moment_match
from dynarium.ssm.model import LinearGaussian, apply, update_step
from dynarium.ssm.smoothing import Smoothed, rts_smoother


@dataclass(frozen=True, kw_only=True)
class BankStep:
    """What one step of the bank knows.

    Attributes:
        potential: log N(y_t; its prediction under regime k), plus the tilt; the tilt alone where y_t is hidden.
        log_likelihood: log sum_k p(s_t = k | past) exp(potential).
        weights: p(s_t | y_1 .. y_t).
        mean: Of the collapsed state given y_1 .. y_t.
        cov: Its covariance.
    """

    potential: Float[Tensor, "*b k"]
    log_likelihood: Float[Tensor, "*b"]
    weights: Float[Tensor, "*b k"]
    mean: Float[Tensor, "*b n"]
    cov: Float[Tensor, "*b n n"]


def bank_ahead(
    regimes: Regimes, mean: Float[Tensor, "*b n"], cov: Float[Tensor, "*b n n"], u: Float[Tensor, "*b a"] | None = None
) -> tuple[Float[Tensor, "*b k n"], Float[Tensor, "*b k n n"]]:
    """Return mean and covariance one step ahead under every regime."""
    means = apply(regimes.A, mean[..., None, :])
    if regimes.B is not None and u is not None:
        means = means + apply(regimes.B, u[..., None, :])
    return means, regimes.A @ cov[..., None, :, :] @ regimes.A.mT + regimes.root @ regimes.root.mT


def bank_update(
    regimes: Regimes,
    prior: Float[Tensor, "b k"],
    mean: Float[Tensor, "b k n"],
    cov: Float[Tensor, "b k n n"],
    y: Float[Tensor, "b p"],
    seen: Bool[Tensor, " b"] | None = None,
    tilt: Float[Tensor, "b k"] | None = None,
) -> tuple[BankStep, Float[Tensor, "b k n"]]:
    """Condition every regime's prediction on y; the second result is the mean of the state under every regime."""
    b, k, _ = mean.shape
    C = regimes.C.repeat(b, 1, 1)
    each = None if seen is None else seen.repeat_interleave(k)
    updated = update_step(mean.flatten(0, 1), cov.flatten(0, 1), y.repeat_interleave(k, 0), C, regimes.R, each)
    means, covs, potential = (part.unflatten(0, (b, k)) for part in updated)
    if tilt is not None:
        potential = potential + tilt
    joint = (prior + 1e-20).log() + potential
    weights = joint.softmax(1)
    centre, spread = moment_match(weights, means, covs)
    step = BankStep(potential=potential, log_likelihood=joint.logsumexp(1), weights=weights, mean=centre, cov=spread)
    return step, means


def filter_bank(
    regimes: Regimes,
    y: Float[Tensor, "b t p"],
    initial: Float[Tensor, " k"],
    transition: Float[Tensor, "b s k k"],
    mask: Bool[Tensor, "b t"] | None = None,
    u: Float[Tensor, "b t a"] | None = None,
    tilt: Float[Tensor, "b t k"] | None = None,
) -> BankStep:
    """Run the bank over a batch of sequences.

        m_k = A_k m_{t-1} + B_k u_t,  P_k = A_k P_{t-1} A_k' + Q_k          each regime's prediction, each updated by y_t
        psi_t(k) = log N(y_t; C_k m_k, C_k P_k C_k' + R)
        w_t(k) = c w_t|t-1(k) exp psi_t(k),  w_t|t-1(j) = sum_i w_{t-1}(i) p(j | i)
        m_t, P_t: moments of the mixture of the updated states

    Potentials and log-likelihood are differentiable once, in everything but R, m0 and P0. On the CPU a compiled sweep with
    its adjoint written out, elsewhere step by step.

    Args:
        regimes: The matrices of every regime.
        y: Observations.
        initial: p(s_1).
        transition: p(s_{t+1} = j | s_t = i) in row i and column j, for t = 1 .. T-1.
        mask: True where observed.
        u: Controls; entry t leads into step t.
        tilt: Added to the potentials, hidden steps included.
    """
    b, t, _ = y.shape
    k, n = regimes.A.shape[:2]
    if not _compiles(y):
        return _step_by_step(regimes, y, initial, transition, mask, u, tilt)
    push = y.new_zeros(()).expand(b, t, k, n)
    if regimes.B is not None and u is not None:
        push = apply(regimes.B, u[:, :, None])
    Q = regimes.root @ regimes.root.mT
    tilt = y.new_zeros(()).expand(b, t, k) if tilt is None else tilt
    seen = torch.ones(b, t, dtype=torch.bool) if mask is None else mask
    inputs = y, regimes.A, regimes.C, Q, push, initial, F.pad(transition, (0, 0, 0, 0, 1, 0)), tilt
    potential, log_likelihood, weights, mean, cov = BankOperation.apply(
        seen, regimes.R, regimes.m0, regimes.P0, *inputs
    )
    return BankStep(potential=potential, log_likelihood=log_likelihood, weights=weights, mean=mean, cov=cov)


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the bank expects of every step from the steps before.

    Attributes:
        prior: p(s_t | y_1 .. y_{t-1}).
        mean: Of the state under every regime, with its ``cov``.
    """

    prior: Float[Tensor, "b t k"]
    mean: Float[Tensor, "b t k n"]
    cov: Float[Tensor, "b t k n n"]


def bank_predictions(
    regimes: Regimes,
    known: BankStep,
    initial: Float[Tensor, " k"],
    transition: Float[Tensor, "b s k k"],
    u: Float[Tensor, "b t a"] | None = None,
) -> Predictions:
    """Return what a bank that has run expected of every step, all steps at once; the arguments are those it ran with."""
    (b, _, k), n = known.weights.shape, known.mean.shape[-1]
    ahead = bank_ahead(regimes, known.mean[:, :-1], known.cov[:, :-1], None if u is None else u[:, 1:])
    start = regimes.m0.expand(b, 1, k, n), regimes.P0.expand(b, 1, k, n, n)
    mean, cov = (torch.cat(parts, 1) for parts in zip(start, ahead, strict=True))
    prior = (known.weights[:, :-1, None] @ transition)[:, :, 0]
    return Predictions(prior=torch.cat([initial.expand(b, 1, k), prior], 1), mean=mean, cov=cov)


def smooth_bank(regimes: Regimes, known: BankStep, expected: Predictions) -> Smoothed:
    """Smooth the Gaussians of the bank, backwards from the last step (Rauch, Tung & Striebel 1965).

    The bank holds every prediction for the Gaussian with the moments of the mixture; its covariance with the state
    before is ``E[A_s] P_{t-1}``, and the spread between the regimes counts as noise of the transition, so that where the
    regime is unsure the later observations weigh more. Exact for one regime.
    """
    A = mixed(expected.prior, regimes.A)
    mean, cov = moment_match(expected.prior, expected.mean, expected.cov)
    before = torch.cat([torch.zeros_like(known.cov[:, :1]), known.cov[:, :-1]], 1)
    Q = cov - A @ before @ A.mT
    model = LinearGaussian(A=A, C=regimes.C[0], Q=Q, R=regimes.R, m0=regimes.m0, P0=regimes.P0)
    moments = {"mean": known.mean, "cov": known.cov, "predicted_mean": mean, "predicted_cov": cov}
    return rts_smoother(model, Filtered(**moments, log_likelihood=known.log_likelihood))


def _compiles(y: Tensor) -> bool:
    """Return whether the compiled sweep can run here."""
    return y.device.type == "cpu" and y.dtype in (torch.float32, torch.float64)


def _step_by_step(
    regimes: Regimes, y: Tensor, initial: Tensor, transition: Tensor, mask: Tensor | None, u: Tensor | None, tilt: Tensor | None
) -> BankStep:  # fmt: skip
    """Run the bank on autograd's tape."""
    b, t, _ = y.shape
    k = regimes.A.shape[0]
    prior, mean, cov = initial.expand(b, k), regimes.m0.expand(b, k, -1), regimes.P0.expand(b, k, -1, -1)
    steps: list[BankStep] = []
    for i in range(t):
        if i > 0:
            prior = (steps[-1].weights[:, None] @ transition[:, i - 1])[:, 0]
            mean, cov = bank_ahead(regimes, steps[-1].mean, steps[-1].cov, None if u is None else u[:, i])
        seen, learned = (None if x is None else x[:, i] for x in (mask, tilt))
        steps.append(bank_update(regimes, prior, mean, cov, y[:, i], seen, learned)[0])
    return stacked(steps)


def stacked(steps: list[BankStep]) -> BankStep:
    """Return the steps of a batch of sequences as one."""
    return BankStep(**{name: torch.stack([vars(step)[name] for step in steps], 1) for name in vars(steps[0])})


class BankOperation(torch.autograd.Function):
    """``(y, A, C, Q, push, initial, transition, tilt)`` to ``(potential, log_likelihood, weights, mean, cov)``."""

    @staticmethod
    def forward(ctx: Any, seen: Tensor, R: Tensor, m0: Tensor, P0: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        from dynarium.ssm import fused  # Numba takes most of a second to import

        outputs = fused.bank_forward((*inputs, R, m0, P0, seen))
        ctx.save_for_backward(*inputs, R, m0, P0, seen, *outputs)
        ctx.mark_non_differentiable(*outputs[2:])
        return outputs

    @staticmethod
    @once_differentiable
    def backward(  # noqa: D102  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *cotangents: Tensor
    ) -> tuple[Tensor | None, ...]:
        from dynarium.ssm import fused

        saved = ctx.saved_tensors
        return None, None, None, None, *fused.bank_backward(saved[:12], saved[12:], cotangents[:2])
