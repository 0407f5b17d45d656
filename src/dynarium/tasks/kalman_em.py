"""Linear-Gaussian state-space models with inputs, fitted to each sequence by expectation-maximisation."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.ssm import LinearGaussian, kalman_filter, rts_smoother
from dynarium.tasks.identifiers import Answer, Inputs, Outputs, Subspace
from dynarium.tasks.subspace import StateSpace

_LEAST = 1e-10
"""Smallest variance of a noise, as a share of the outputs' variance: without noise EM would divide by 0."""


_SUBSPACE = Subspace()


@dataclass(frozen=True, kw_only=True)
class KalmanEM:
    """x_(t+1) = A x_t + B u_t + w_t, y_t = C x_t + D u_t + v_t: EM from a subspace model, then the Kalman filter.

    The E-step smooths (Rauch, Tung & Striebel 1965), the M-step is two regressions on expected moments (Shumway & Stoffer 1982;
    with inputs: Gibson & Ninness 2005, lemma 3.3). The number of states is the subspace model's. Simulations go on from the
    filter's last state and state the deviation of what would be measured, that is with both noises.

    Attributes:
        start: Method of the model that EM starts from.
        iterations: Iterations of EM.
    """

    start: Subspace = _SUBSPACE
    iterations: int = 20

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return what follows, from the filtered state at the end of the context."""
        hidden = y.new_zeros(len(y), action.shape[1], y.shape[2])
        return self._predict(u, y, torch.cat([u, action], 1), torch.cat([y, hidden], 1), feed=False)

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer:
        """Return the filter's predictions by the model of the context."""
        return self._predict(u[:, :context], y[:, :context], u, y, feed=True)

    def _predict(self, u: Tensor, y: Tensor, inputs: Tensor, outputs: Tensor, *, feed: bool) -> Answer:
        """Fit to ``u``, ``y``; return moments of the steps of ``inputs`` after them, whose outputs are known or not."""
        context, later = u.shape[1], inputs.shape[1] - u.shape[1]
        mean, deviation = y.new_zeros(2, len(y), later, y.shape[2])
        for start, rows in self.start.fit(u, y):
            model = fit_em(start, u[rows], y[rows], self.iterations)
            control = _control(inputs[rows])
            seen = torch.ones(outputs[rows].shape[:2], dtype=torch.bool)
            seen[:, context:] = feed
            known = kalman_filter(model, outputs[rows], seen, control)
            x, P = known.predicted_mean[:, context:], known.predicted_cov[:, context:]
            assert model.D is not None
            mean[rows] = x @ model.C[:, 0].mT + control[:, context:] @ model.D[:, 0].mT
            spread = (model.C @ P @ model.C.mT + model.R).diagonal(dim1=-2, dim2=-1)
            deviation[rows] = spread.clamp(min=0).sqrt()
        return mean, deviation


def fit_em(start: StateSpace, u: Float[Tensor, "b t a"], y: Float[Tensor, "b t p"], iterations: int) -> LinearGaussian:
    """Return the model after so many iterations of EM; its control at step t is [u_(t-1), u_t].

    A sequence whose likelihood is no number any more keeps the model before.
    """
    model, control = _initial(start, u, y), _control(u)
    for _ in range(iterations):
        new = _maximised(model, u, y, control)
        sound = kalman_filter(new, y, u=control).log_likelihood.sum(1).isfinite()
        kept = {
            name: torch.where(sound.view(-1, *[1] * (value.ndim - 1)), value, getattr(model, name))
            for name, value in vars(new).items()
        }
        model = LinearGaussian(**kept)
    return model


def _initial(start: StateSpace, u: Tensor, y: Tensor) -> LinearGaussian:
    n, p = start.A.shape[1], y.shape[2]
    variance = y.var(1)
    residual = (y - start.simulate(u)).square().mean(1).clamp(min=_LEAST * variance)
    states = start.A.new_zeros(len(y), n, n) + torch.eye(n, dtype=y.dtype)
    # States are as large as the outputs that they explain: C is orthonormal up to its shift.
    small = (residual.mean(1) / variance.mean(1))[:, None, None]
    scale = _scale_of_states(start, u)
    noise = 0.1 * small * scale
    no_b, no_d = torch.zeros_like(start.B), torch.zeros_like(start.D)
    return LinearGaussian(
        A=start.A[:, None],
        B=torch.cat([start.B, no_b], 2)[:, None],
        C=start.C[:, None],
        D=torch.cat([no_d, start.D], 2)[:, None],
        Q=noise[:, None] * states[:, None],
        R=(residual[..., None] * torch.eye(p, dtype=y.dtype))[:, None],
        m0=start.x0,
        P0=scale * states,
    )


def _scale_of_states(start: StateSpace, u: Tensor) -> Tensor:
    """Return the mean variance of the states of each model under these inputs [b, 1, 1]."""
    eye = torch.eye(start.A.shape[1], dtype=u.dtype).expand_as(start.A)
    whole = replace(start, C=eye, D=u.new_zeros(len(u), eye.shape[1], u.shape[2]))
    return whole.simulate(u).square().mean((1, 2)).clamp(min=1e-12)[:, None, None]


def _maximised(model: LinearGaussian, u: Tensor, y: Tensor, control: Tensor) -> LinearGaussian:
    """Return the model that maximises the expected log-likelihood under the posterior of the states."""
    smooth = rts_smoother(model, kalman_filter(model, y, u=control))
    x, cov, cross = smooth.mean, smooth.cov, smooth.cross_cov
    n, a, steps = x.shape[2], u.shape[2], u.shape[1]
    variance = y.var(1)

    def moments(left: Tensor, right: Tensor, extra: Tensor | None = None) -> Tensor:
        product = left.mT @ right
        if extra is not None:
            product[:, :n, :n] += extra
        return product

    # x_(t+1) on [x_t, u_t].
    z = torch.cat([x[:, :-1], u[:, :-1]], 2)
    zz, xz = moments(z, z, cov[:, :-1].sum(1)), moments(x[:, 1:], z, cross.sum(1))
    AB = _solved(zz, xz)
    Q = (moments(x[:, 1:], x[:, 1:], cov[:, 1:].sum(1)) - AB @ xz.mT) / (steps - 1)
    # y_t on [x_t, u_t].
    z = torch.cat([x, u], 2)
    zz, yz = moments(z, z, cov.sum(1)), y.mT @ z
    CD = _solved(zz, yz)
    R = (y.mT @ y - CD @ yz.mT) / steps
    floor = torch.diag_embed(_LEAST * variance)
    no_b, no_d = AB.new_zeros(len(x), n, a), CD.new_zeros(len(x), y.shape[2], a)
    return LinearGaussian(
        A=AB[:, None, :, :n],
        B=torch.cat([AB[..., n:], no_b], 2)[:, None],
        C=CD[:, None, :, :n],
        D=torch.cat([no_d, CD[..., n:]], 2)[:, None],
        Q=_symmetric(Q)[:, None] + _LEAST * _trace(Q, n)[:, None],
        R=_symmetric(R)[:, None] + floor[:, None],
        m0=x[:, 0],
        P0=_symmetric(cov[:, 0]) + _LEAST * _trace(cov[:, 0], n),
    )


def _control(u: Tensor) -> Tensor:
    """Return [u_(t-1), u_t] at every step."""
    return torch.cat([torch.nn.functional.pad(u[:, :-1], (0, 0, 1, 0)), u], 2)


def _solved(zz: Tensor, yz: Tensor) -> Tensor:
    """Return yz zz^-1, with a penalty at the level of rounding."""
    scale = zz.diagonal(dim1=1, dim2=2).clamp(min=1e-300).sqrt()
    scaled = zz / (scale[:, :, None] * scale[:, None]) + 1e-12 * torch.eye(zz.shape[1], dtype=zz.dtype)
    return torch.linalg.solve(scaled, (yz / scale[:, None]).mT).mT / scale[:, None]


def _symmetric(x: Tensor) -> Tensor:
    return (x + x.mT) / 2


def _trace(x: Tensor, n: int) -> Tensor:
    mean = x.diagonal(dim1=1, dim2=2).abs().mean(1)[:, None, None]
    return mean * torch.eye(n, dtype=x.dtype)
