"""Classical identification of many systems at once, each from its own context: what a meta-model has to beat.

Each method reads the context only. Orders and ridge are chosen on the last quarter of the context, after a fit to the rest;
then all of it is fitted again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dynarium.errors import UserError
from dynarium.tasks.subspace import fit_subspace

T = TypeVar("T")

Series = Float[Tensor, "b t _"]


class Identifier(Protocol):
    """A way of identifying; all tensors are float64."""

    def simulate(self, u: Series, y: Series, action: Series) -> Series:
        """Return the outputs that follow the context ``u``, ``y`` under the inputs ``action``."""
        ...

    def predict_next(self, u: Series, y: Series, context: int) -> Series | None:
        """Return each output from step ``context`` on given those before it; ``None``: the method only simulates.

        It is fitted to the first ``context`` steps.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LastValue:
    """The last output stays."""

    def simulate(self, u: Series, y: Series, action: Series) -> Series:
        """Return the last output of the context, at every step."""
        return y[:, -1:].expand(-1, action.shape[1], -1)

    def predict_next(self, u: Series, y: Series, context: int) -> Series:
        """Return the output before."""
        return y[:, context - 1 : -1]


@dataclass(frozen=True, kw_only=True)
class ContextMean:
    """The mean of the context's outputs."""

    def simulate(self, u: Series, y: Series, action: Series) -> Series:
        """Return the mean of the context, at every step."""
        return y.mean(1, keepdim=True).expand(-1, action.shape[1], -1)

    def predict_next(self, u: Series, y: Series, context: int) -> Series:
        """Return the mean of the context, at every step."""
        return y[:, :context].mean(1, keepdim=True).expand(-1, y.shape[1] - context, -1)


@dataclass(frozen=True, kw_only=True)
class Arx:
    """Regression on past outputs and inputs, y_t = sum_k A_k y_(t-k) + sum_k B_k u_(t-k) + c (Ljung 1999, section 10.1).

    k runs over 1 .. n for outputs and 0 .. n for inputs. Ridge least squares by QR, the penalty a share of the mean squared
    regressor. ``feedback`` off leaves the outputs out: a finite impulse response.

    Attributes:
        feedback: Whether past outputs are regressors.
        orders: Values of n to choose from; those with more regressors than three quarters of the fitted steps are left out.
        ridges: Penalties to choose from.
    """

    feedback: bool = True
    orders: tuple[int, ...] = (2, 5, 10, 20, 30)
    ridges: tuple[float, ...] = (1e-12, 1e-4, 1e-2)

    def simulate(self, u: Series, y: Series, action: Series) -> Series:
        """Return the free run after the context; the outputs that start it are the context's last."""
        train = u.shape[1] - u.shape[1] // 4
        candidates = self._candidates(u, y, train)
        errors = []
        for order, ridge in candidates:
            weights = self._fit(u[:, :train], y[:, :train], order, ridge)
            errors.append(_error(self._free_run(weights, u, y[:, :train], order), y[:, train:]))
        inputs = torch.cat([u, action], 1)
        answer = y.new_zeros(len(y), action.shape[1], y.shape[2])
        for (order, ridge), rows in _chosen(candidates, errors):
            weights = self._fit(u[rows], y[rows], order, ridge)
            answer[rows] = self._free_run(weights, inputs[rows], y[rows], order)
        return answer

    def predict_next(self, u: Series, y: Series, context: int) -> Series:
        """Return the one-step predictions after the context."""
        train = context - context // 4
        candidates = self._candidates(u, y, train)
        errors = []
        for order, ridge in candidates:
            weights = self._fit(u[:, :train], y[:, :train], order, ridge)
            known = self._regressors(u[:, :context], y[:, :context], order)[:, train - order :]
            errors.append(_error(known @ weights, y[:, train:context]))
        answer = y.new_zeros(len(y), y.shape[1] - context, y.shape[2])
        for (order, ridge), rows in _chosen(candidates, errors):
            weights = self._fit(u[rows, :context], y[rows, :context], order, ridge)
            answer[rows] = self._regressors(u[rows], y[rows], order)[:, context - order :] @ weights
        return answer

    def _candidates(self, u: Tensor, y: Tensor, train: int) -> list[tuple[int, float]]:
        width = u.shape[2] + (y.shape[2] if self.feedback else 0)
        orders = [n for n in self.orders if n * width + u.shape[2] + 1 <= 0.75 * (train - n)]
        if not orders:
            raise UserError(f"identify: a context of {u.shape[1]} steps is too short to fit {type(self).__name__}")
        return [(n, ridge) for n in orders for ridge in self.ridges]

    def _regressors(self, u: Tensor, y: Tensor, order: int) -> Tensor:
        """Return the regressors of the steps from ``order`` on [b, t - order, r]: inputs, then outputs, latest first, and 1."""
        parts = [u.unfold(1, order + 1, 1).flip(3).transpose(2, 3).flatten(2)]
        if self.feedback:
            parts.append(y[:, :-1].unfold(1, order, 1).flip(3).transpose(2, 3).flatten(2))
        return torch.cat([*parts, torch.ones_like(parts[0][..., :1])], 2)

    def _fit(self, u: Tensor, y: Tensor, order: int, ridge: float) -> Tensor:
        x = self._regressors(u, y, order)
        return ridge_solution(x, y[:, order:], ridge)

    def _free_run(self, weights: Tensor, u: Tensor, y: Tensor, order: int) -> Tensor:
        """Return the outputs after the steps of ``y``, from inputs ``u`` that go on, and own outputs."""
        start, lags = y.shape[1], order * y.shape[2]
        inputs = u[:, start - order :].unfold(1, order + 1, 1).flip(3).transpose(2, 3).flatten(2)
        width = inputs.shape[2]
        driven = inputs @ weights[:, :width] + weights[:, -1:]
        if not self.feedback:
            return driven
        feedback = weights[:, width : width + lags]
        past, answer = y[:, start - order :].flip(1).flatten(1)[:, None], []
        for step in driven.split(1, 1):
            now = torch.baddbmm(step, past, feedback).clamp(-1e6, 1e6)  # an unstable fit stays finite
            past = torch.cat([now, past[..., : lags - y.shape[2]]], 2)
            answer.append(now)
        return torch.cat(answer, 1)


@dataclass(frozen=True, kw_only=True)
class Subspace:
    """A state-space model by the subspace method ``fit_subspace``; inputs and outputs are centred first.

    Attributes:
        orders: Numbers of states to choose from.
        rows: Block rows of the Hankel matrices; at most an eighth of the fitted steps.
    """

    orders: tuple[int, ...] = (1, 2, 4, 6, 8, 10)
    rows: int = 15

    def simulate(self, u: Series, y: Series, action: Series) -> Series:
        """Return the free run of the model from its own state at the end of the context."""
        train = u.shape[1] - u.shape[1] // 4
        rows = min(self.rows, train // 8)
        orders = [n for n in self.orders if n < rows * y.shape[2]]
        if not orders:
            raise UserError(f"identify: a context of {u.shape[1]} steps is too short to fit {type(self).__name__}")
        middle_u, middle_y = u.mean(1, keepdim=True), y.mean(1, keepdim=True)
        u, y, action = u - middle_u, y - middle_y, action - middle_u
        models = fit_subspace(u[:, :train], y[:, :train], orders, rows)
        errors = [_error(model.simulate(u)[:, train:], y[:, train:]) for model in models]
        answer = y.new_zeros(len(y), action.shape[1], y.shape[2])
        inputs = torch.cat([u, action], 1)
        for order, chosen in _chosen(orders, errors):
            model = fit_subspace(u[chosen], y[chosen], [order], rows)[0]
            answer[chosen] = model.simulate(inputs[chosen])[:, u.shape[1] :]
        return answer + middle_y

    def predict_next(self, u: Series, y: Series, context: int) -> None:
        """Return nothing: the method gives no noise model here, so it only simulates."""


IDENTIFIERS: dict[str, Identifier] = {
    "last-value": LastValue(),
    "context-mean": ContextMean(),
    "fir": Arx(feedback=False, orders=(5, 10, 20, 50, 100), ridges=(1e-6, 1e-3, 1e-1)),
    "arx": Arx(),
    "subspace": Subspace(),
}


def ridge_solution(x: Float[Tensor, "b t r"], y: Float[Tensor, "b t p"], ridge: float) -> Float[Tensor, "b r p"]:
    """Return the minimiser of |y - x w|^2 + ridge * t * mean(x^2) |w|^2, by QR, which does not square the condition."""
    scale = (ridge * x.shape[1] * x.square().mean((1, 2), keepdim=True)).sqrt().clamp(min=1e-150)
    penalty = scale * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    q, r = torch.linalg.qr(torch.cat([x, penalty], 1))
    return torch.linalg.solve_triangular(r, q[:, : x.shape[1]].mT @ y, upper=True)


def _error(found: Tensor, truth: Tensor) -> Shaped[Tensor, " b"]:
    return (found - truth).square().mean((1, 2)).nan_to_num(torch.inf)


def _chosen(candidates: Sequence[T], errors: list[Tensor]) -> list[tuple[T, Tensor]]:
    """Return each candidate that is best for some sequences, with these sequences."""
    best = torch.stack(errors).argmin(0)
    groups = [(candidate, (best == k).nonzero()[:, 0]) for k, candidate in enumerate(candidates)]
    return [(candidate, rows) for candidate, rows in groups if len(rows)]
