"""Nonlinear state-space models with Gaussian noise: the extended and the unscented Kalman filter, and their smoothers.

Both replace each function by an affine one with noise, ``g(z) ~ g0 + J (z - m) + N(0, W)`` where z ~ N(m, P), and go on as
for linear models. The extended filter takes the tangent at m and W = 0. The unscented one regresses g on sigma points, and W
is what the regression leaves over (Lefebvre et al. 2002): a sum of squares, so that no covariance is ever a difference.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.func import vjp, vmap

from dynarium.errors import UserError
from dynarium.ssm.filtering import Filtered, observed_steps
from dynarium.ssm.model import LinearGaussian, every_step, update_step
from dynarium.ssm.smoothing import Smoothed, rts_smoother

Function = Callable[[Float[Tensor, "*s b n"]], Float[Tensor, "*s b m"]]

Transition = Callable[[Float[Tensor, "*s b n"], Float[Tensor, "b a"] | None, int], Float[Tensor, "*s b n"]]
"""z, u, t -> the next state of every sequence without its noise; ``t``, from 1 on, is the step that is led into."""

Noise = Callable[[Float[Tensor, "*s b n"], int], Float[Tensor, "*s b n n"]]
"""z, t -> the covariance of the noise of the step from z into step t."""


@dataclass(frozen=True, kw_only=True)
class NonlinearGaussian:
    """A nonlinear state-space model with additive Gaussian noise.

        z_1 ~ N(m0, P0)
        z_t = f(z_{t-1}, u_t, t) + N(0, Q_t)         t = 2 .. T
        y_t = h(z_t) + N(0, R_t)                     t = 1 .. T

    The functions take the states of all sequences at once, ``[b, n]`` or ``[s, b, n]``, so that whatever they close over may
    differ between sequences; no sequence may depend on another one. Covariances are shared or vary as those of
    ``LinearGaussian``; Q may also be a function of the state, which the filters take at the mean.

    Attributes:
        transition: f.
        observation: h.
        Q: Covariance of the transition noise.
        R: Covariance of the emission noise.
        m0: Mean of the first state, ``[n]`` or ``[b, n]``.
        P0: Covariance of the first state, ``[n, n]`` or ``[b, n, n]``.
    """

    transition: Transition
    observation: Function
    Q: Float[Tensor, "... n n"] | Noise
    R: Float[Tensor, "... p p"]
    m0: Float[Tensor, "... n"]
    P0: Float[Tensor, "... n n"]


@dataclass(frozen=True, kw_only=True)
class SigmaPoints:
    """The sigma points of the unscented transform (Julier & Uhlmann 1997), scaled as in van der Merwe 2004, eq. 3.12.

    With c = alpha^2 (n + kappa): the mean m with weights ``1 - n / c`` (of means) and ``2 - n / c - alpha^2 + beta`` (of
    covariances), and ``m +- sqrt(c) L e_i``, ``L L' = P``, each with the weight ``1 / (2 c)``. Means of quadratic functions
    are exact whatever the numbers; with kappa = 0 and beta = 2 so is the variance of one of a single Gaussian number.

    Attributes:
        alpha: Spread of the points.
        beta: Weight of the mean's own deviation; 2 is best for Gaussian states.
        kappa: Second parameter of the spread.
    """

    alpha: float = 1.0
    beta: float = 2.0
    kappa: float = 0.0

    def weights(self, n: int) -> tuple[float, float, float]:
        """Return c and the two weights of the mean.

        Raises:
            UserError: The points coincide, or a covariance could become negative.
        """
        c = self.alpha**2 * (n + self.kappa)
        if c <= 0:
            raise UserError(f"alpha, kappa: alpha^2 (n + kappa) > 0 wanted, got {c:g} for {n} dimensions")
        centre = 2 - n / c - self.alpha**2 + self.beta
        if centre < 0:
            raise UserError(
                f"alpha, beta, kappa: a weight 2 - n / c - alpha^2 + beta of at least 0 wanted, got {centre:g} for {n} "
                "dimensions; a covariance could become negative. Take a larger alpha"
            )
        return c, 1 - n / c, centre


Affine = tuple[Float[Tensor, "b m"], Float[Tensor, "b m n"], Float[Tensor, "b m m"]]
Linearise = Callable[[Function, Float[Tensor, "b n"], Float[Tensor, "b n n"]], Affine]
"""g, m, P -> mean of g(z), J and W."""


def tangent(g: Function, mean: Float[Tensor, "b n"], cov: Float[Tensor, "b n n"]) -> Affine:
    """Return g(m), its Jacobian at m and 0."""
    value, pull = vjp(g, mean)  # pyright: ignore[reportAssignmentType]
    p = value.shape[-1]
    directions = torch.eye(p, dtype=mean.dtype, device=mean.device)[:, None].expand(p, *value.shape)
    J = vmap(lambda v: pull(v)[0])(directions).movedim(0, 1)
    return value, J, J.new_zeros(*value.shape, p)


def regression(points: SigmaPoints) -> Linearise:
    """Return the statistical linearisation on sigma points.

    With y+-_i = g(m +- sqrt(c) L e_i): J = D L^-1 with the columns ``(y+_i - y-_i) / (2 sqrt(c))`` of D, and W the weighted
    sum of the squares of ``g(m) - g0`` and ``(y+_i + y-_i) / 2 - g0``. Then ``J P J' + W`` is the unscented covariance.
    """

    def linearise(g: Function, mean: Tensor, cov: Tensor) -> Affine:
        n = mean.shape[-1]
        c, of_mean, of_cov = points.weights(n)
        root = _root(cov)
        offsets = c**0.5 * root.movedim(-1, 0)  # [n, b, n]
        values = g(torch.cat([mean[None], mean + offsets, mean - offsets]))
        centre, above, below = values.split([1, n, n])
        value = of_mean * centre[0] + (above + below).sum(0) / (2 * c)
        even = ((above + below) / 2 - value) / c**0.5
        rest = torch.cat([of_cov**0.5 * (centre - value), even]).movedim(0, -1)
        D = ((above - below) / (2 * c**0.5)).movedim(0, -1)
        return value, torch.linalg.solve_triangular(root, D, upper=False, left=False), rest @ rest.mT

    return linearise


def extended_kalman_filter(
    model: NonlinearGaussian,
    y: Float[Tensor, "b t p"],
    mask: Bool[Tensor, "b t"] | Bool[Tensor, "b t p"] | None = None,
    u: Float[Tensor, "b t a"] | None = None,
    lengths: Int[Tensor, " b"] | None = None,
) -> Filtered:
    """Filter with every function replaced by its tangent at the mean (Smith et al. 1962; Jazwinski 1970, section 8.3).

    Exact for linear functions. Masks, lengths and controls are those of :func:`kalman_filter`; the functions must be
    differentiable. A sequence that diverges, so that its mean or covariance is no longer finite, is NaN from that step on,
    its log-likelihood too, and the other sequences are as they were.

    Raises:
        ValueError: The mask has another number of sequences or steps.
    """
    return _filter(model, y, mask, u, lengths, tangent)


def unscented_kalman_filter(
    model: NonlinearGaussian,
    y: Float[Tensor, "b t p"],
    mask: Bool[Tensor, "b t"] | Bool[Tensor, "b t p"] | None = None,
    u: Float[Tensor, "b t a"] | None = None,
    lengths: Int[Tensor, " b"] | None = None,
    *,
    points: SigmaPoints | None = None,
) -> Filtered:
    """Filter with every function seen at sigma points only (Julier & Uhlmann 1997; van der Merwe 2004, algorithm 3.1).

    The sigma points are drawn anew after each prediction, with the noise in it. As :func:`extended_kalman_filter`, but the
    functions need no derivatives.

    Raises:
        ValueError: The mask has another number of sequences or steps.
        UserError: The numbers of the sigma points do not fit the dimension.
    """
    return _filter(model, y, mask, u, lengths, regression(points or SigmaPoints()))


def extended_smoother(
    model: NonlinearGaussian, filtered: Filtered, u: Float[Tensor, "b t a"] | None = None
) -> Smoothed:
    """Smooth what the extended filter returned: Rauch, Tung & Striebel 1965 with the tangents (Sarkka 2013, section 9.1).

    A sequence whose filter diverged is NaN throughout.
    """
    return _smooth(model, filtered, u, tangent)


def unscented_smoother(
    model: NonlinearGaussian,
    filtered: Filtered,
    u: Float[Tensor, "b t a"] | None = None,
    *,
    points: SigmaPoints | None = None,
) -> Smoothed:
    """Smooth what the unscented filter returned, with the same sigma points (Sarkka 2008).

    A sequence whose filter diverged is NaN throughout.
    """
    return _smooth(model, filtered, u, regression(points or SigmaPoints()))


def _filter(
    model: NonlinearGaussian, y: Tensor, mask: Tensor | None, u: Tensor | None, lengths: Tensor | None, lin: Linearise
) -> Filtered:
    b, t, p = y.shape
    mask = observed_steps(mask, lengths, b, t)
    seen = torch.ones(b, t, p, dtype=torch.bool, device=y.device) if mask is None else mask.view(b, t, -1)
    seen = seen.expand(b, t, p)
    R, n = every_step(model.R, b, t), model.P0.shape[-1]
    mean, cov = model.m0.expand(b, n), model.P0.expand(b, n, n)
    found: list[tuple[Tensor, ...]] = []
    for i in range(t):
        if i:
            mean, J, W = lin(_into(model, u, i), before := mean, cov)
            cov = J @ cov @ J.mT + W + _noise(model, before, i, t)
        predicted = mean, cov
        value, H, W = lin(model.observation, mean, cov)
        # The observation that the affine function would have to explain by H z alone.
        shifted = torch.where(seen[:, i], y[:, i], 0.0) - value + (H @ mean[..., None])[..., 0]
        mean, cov, log_likelihood = update_step(mean, cov, shifted, H, R[:, i] + W, seen[:, i])
        found.append((mean, cov, *predicted, log_likelihood))
    mean, cov, predicted_mean, predicted_cov, log_likelihood = (torch.stack(x, 1) for x in zip(*found, strict=True))
    return Filtered(
        mean=mean,
        cov=cov,
        predicted_mean=predicted_mean,
        predicted_cov=predicted_cov,
        log_likelihood=log_likelihood,
    )


def _smooth(model: NonlinearGaussian, filtered: Filtered, u: Tensor | None, lin: Linearise) -> Smoothed:
    b, t, n = filtered.mean.shape
    sound = filtered.mean.flatten(1).isfinite().all(1) & filtered.cov.flatten(1).isfinite().all(1)
    A, Q = [filtered.cov.new_zeros(b, n, n)], [filtered.cov.new_zeros(b, n, n)]  # nothing leads into the first step
    for i in range(1, t):
        mean = filtered.mean[:, i - 1]
        _, J, W = lin(_into(model, u, i), mean, filtered.cov[:, i - 1])
        A.append(J)
        Q.append(W + _noise(model, mean, i, t))
    linear = LinearGaussian(
        A=torch.stack(A, 1)[sound],
        Q=torch.stack(Q, 1)[sound],
        C=model.R.new_zeros(model.R.shape[-1], n),
        R=model.R,
        m0=model.m0,
        P0=model.P0,
    )
    found = rts_smoother(linear, Filtered(**{name: value[sound] for name, value in vars(filtered).items()}))
    if bool(sound.all()):
        return found
    whole = {name: value.new_full((b, *value.shape[1:]), torch.nan) for name, value in vars(found).items()}
    return Smoothed(**{name: value.index_put((sound,), getattr(found, name)) for name, value in whole.items()})


def _into(model: NonlinearGaussian, u: Tensor | None, t: int) -> Function:
    control = None if u is None else u[:, t]
    return lambda z: model.transition(z, control, t)


def _noise(model: NonlinearGaussian, mean: Tensor, step: int, steps: int) -> Tensor:
    """Return the covariance of the noise of the step into ``step``, from states of this mean."""
    if not isinstance(model.Q, Tensor):
        return model.Q(mean, step)
    return every_step(model.Q, len(mean), steps)[:, step]


def _root(cov: Float[Tensor, "b n n"]) -> Float[Tensor, "b n n"]:
    """Return Cholesky factors, NaN for what has none; rounding may have left a covariance barely singular."""
    slack = 4 * torch.finfo(cov.dtype).eps * cov.diagonal(dim1=-2, dim2=-1).sum(-1)
    eye = torch.eye(cov.shape[-1], dtype=cov.dtype, device=cov.device)
    root, failed = torch.linalg.cholesky_ex(0.5 * (cov + cov.mT) + slack[..., None, None] * eye)
    return torch.where((failed > 0)[..., None, None], torch.nan, root)
