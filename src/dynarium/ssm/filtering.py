"""The Kalman filter and what follows from it: likelihood, predictions."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dynarium.ssm.adjoint import FilterOperation, Method, resolve
from dynarium.ssm.model import Gaussian, LinearGaussian, apply, every_step, per_step


@dataclass(frozen=True, kw_only=True)
class Filtered:
    """What the filter knows at every step.

    Attributes:
        mean: E[z_t | y_1 .. y_t].
        cov: Cov[z_t | y_1 .. y_t].
        predicted_mean: E[z_t | y_1 .. y_{t-1}]; the prior at the first step.
        predicted_cov: Cov[z_t | y_1 .. y_{t-1}].
        log_likelihood: log p(y_t | y_1 .. y_{t-1}) of the observed part of y_t; 0 where nothing is observed.
    """

    mean: Float[Tensor, "b t n"]
    cov: Float[Tensor, "b t n n"]
    predicted_mean: Float[Tensor, "b t n"]
    predicted_cov: Float[Tensor, "b t n n"]
    log_likelihood: Float[Tensor, "b t"]


def kalman_filter(
    model: LinearGaussian,
    y: Float[Tensor, "b t p"],
    mask: Bool[Tensor, "b t"] | Bool[Tensor, "b t p"] | None = None,
    u: Float[Tensor, "b t a"] | None = None,
    lengths: Int[Tensor, " b"] | None = None,
    *,
    method: Method = "auto",
) -> Filtered:
    """Filter a batch of sequences (Kalman 1960), one sensor after the other, in Joseph's form, sound in float32.

        m_{t|t-1} = A m_{t-1} + B u_t,   P_{t|t-1} = A P_{t-1} A' + Q
        S = C P_{t|t-1} C' + R,   K = P_{t|t-1} C' S^-1
        m_t = m_{t|t-1} + K (y_t - C m_{t|t-1} - D u_t)
        P_t = (I - K C) P_{t|t-1} (I - K C)' + K R K'

    Differentiable once in everything; the dtype is that of the inputs. Masked content cannot matter, NaN included. Q, R and
    P0 are taken as symmetric, and so are their gradients. Where an innovation covariance is not positive, the result is NaN.

    Args:
        model: The state-space model.
        y: Observations.
        mask: True where observed: one entry a step, or one a step and output dimension. ``None``: all observed.
        u: Controls; entry t leads into step t and acts on y_t.
        lengths: Number of valid steps of each sequence; later steps count as missing.
        method: ``"fused"``: compiled sweeps on the CPU. ``"loop"``: step by step in PyTorch. ``"scan"``: a
            parallel scan of depth log2(T), for accelerators (Sarkka & Garcia-Fernandez 2021). ``"auto"``: on the CPU fused,
            elsewhere the scan.

    Raises:
        ValueError: A parameter varies over another number of steps, or controls are given without B and D.
        UserError: The method is unknown or cannot run here.
    """
    b, t, p = y.shape
    if u is not None and model.B is None and model.D is None:
        raise ValueError("u: the model has neither B nor D, so controls cannot act")
    mask = observed_steps(mask, lengths, b, t)
    seen = torch.ones(b, t, p, dtype=torch.bool, device=y.device) if mask is None else mask.view(b, t, -1)
    n = model.P0.shape[-1]
    if u is not None and model.D is not None:
        y = y - apply(every_step(model.D, b, t), u)
    push = y.new_zeros(()).expand(b, t, n)
    if u is not None and model.B is not None:
        push = apply(every_step(model.B, b, t), u)
    matrices = [every_step(matrix, b, t) for matrix in (model.A, model.C, model.Q, model.R)]
    start = model.m0.expand(b, n), model.P0.expand(b, n, n)
    mean, cov, predicted_mean, predicted_cov, log_likelihood = FilterOperation.apply(
        resolve(method, *matrices, y, push, *start), seen.expand(b, t, p), *matrices, y, push, *start
    )
    return Filtered(
        mean=mean,
        cov=cov,
        predicted_mean=predicted_mean,
        predicted_cov=predicted_cov,
        log_likelihood=log_likelihood,
    )


def observed_steps(mask: Tensor | None, lengths: Tensor | None, b: int, t: int) -> Tensor | None:
    """Return mask and lengths as one mask; ``None`` when everything is observed.

    Raises:
        ValueError: The mask has another number of sequences or steps.
    """
    if mask is not None and tuple(mask.shape[:2]) != (b, t):
        raise ValueError(f"mask: a shape that starts with {(b, t)} wanted, got {tuple(mask.shape)}")
    if lengths is None:
        return mask
    valid = torch.arange(t, device=lengths.device) < lengths[:, None]
    if mask is None:
        return valid
    return mask & (valid if mask.ndim == 2 else valid[..., None])


def control_pushes(model: LinearGaussian, u: Tensor | None, t: int) -> tuple[Tensor | None, ...]:
    """Return ``B_t u_t`` of every step, or ``None`` for each where no control acts on the state."""
    if u is None or model.B is None:
        return (None,) * t
    return tuple(apply(B, push) for B, push in zip(per_step(model.B, t), u.unbind(1), strict=True))


def predict_ahead(
    model: LinearGaussian, filtered: Filtered, k: int, u: Float[Tensor, "b t a"] | None = None
) -> Gaussian:
    """Return p(z_{t+k} | y_1 .. y_t) for t = 1 .. T-k, all of them at once; entry i belongs to step i + k.

    Raises:
        ValueError: ``k`` is not in 1 .. T-1.
    """
    t = filtered.mean.shape[1]
    if not 1 <= k < t:
        raise ValueError(f"k: expected 1 .. {t - 1} for sequences of {t} steps, got {k}")
    mean, cov = filtered.mean[:, : t - k], filtered.cov[:, : t - k]
    A, Q = (torch.stack(per_step(matrix, t), dim=-3) for matrix in (model.A, model.Q))
    pushes = control_pushes(model, u, t)
    for j in range(1, k + 1):
        into = slice(j, t - k + j)
        mean = apply(A[..., into, :, :], mean)
        if pushes[0] is not None:
            mean = mean + torch.stack([push for push in pushes[into] if push is not None], 1)
        cov = A[..., into, :, :] @ cov @ A[..., into, :, :].mT + Q[..., into, :, :]
    return Gaussian(mean=mean, cov=cov)


def emit(
    model: LinearGaussian, states: Gaussian, u: Float[Tensor, "b t a"] | None = None, *, start: int = 0
) -> Gaussian:
    """Return the distribution of the observations, ``C m + D u`` and ``C P C' + R``, of states from step ``start`` on."""
    t = states.mean.shape[1]
    last = start + t

    def along(matrix: Tensor) -> Tensor:
        return matrix if matrix.ndim == 2 or matrix.shape[-3] == 1 else matrix[..., start:last, :, :]

    C = along(model.C)
    mean = apply(C, states.mean)
    if u is not None and model.D is not None:
        mean = mean + apply(along(model.D), u[:, start:last])
    return Gaussian(mean=mean, cov=C @ states.cov @ C.mT + along(model.R))
