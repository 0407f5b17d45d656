"""Classical identification of many systems at once, each from its own context: what a meta-model has to beat.

Each method reads the context only. Orders and ridge are chosen on the last quarter of the context, after a fit to the rest;
then all of it is fitted again. ``Scaled`` makes every answer independent of the units: penalties weigh inputs, outputs and
the constant against each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dynarium.errors import UserError
from dynarium.models.identification import Scale, scale_of
from dynarium.ssm.averaging import averaged_output_error
from dynarium.tasks.subspace import StateSpace, fit_subspace

T = TypeVar("T")

Inputs = Float[Tensor, "b t a"]
Outputs = Float[Tensor, "b t p"]
Answer = tuple[Float[Tensor, "b f p"], Float[Tensor, "b f p"] | None]
"""Means of outputs, and their standard deviations where the method states any."""


class TooShortError(UserError):
    """A context is too short for a method; others may make do with it."""


@runtime_checkable
class Identifier(Protocol):
    """A way of identifying; all tensors are float64, and the context of every channel has mean 0 and deviation 1."""

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the outputs that follow the context ``u``, ``y`` under the inputs ``action``."""
        ...

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer | None:
        """Return each output from step ``context`` on given those before it; ``None``: the method only simulates.

        It is fitted to the first ``context`` steps.
        """
        ...


@dataclass(frozen=True)
class Scaled:
    """A method for signals in any units: it is given (x - mean) / deviation, both those of the context, of every channel."""

    method: Identifier

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the outputs that follow the context, in their own units."""
        of_u, of_y = scale_of(u), scale_of(y)
        found = self.method.simulate(of_u.standardise(u), of_y.standardise(y), of_u.standardise(action))
        return _restored(found, of_y)

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer | None:
        """Return each output from step ``context`` on, in its own units; ``None``: the method only simulates."""
        of_u, of_y = scale_of(u[:, :context]), scale_of(y[:, :context])
        found = self.method.predict_next(of_u.standardise(u), of_y.standardise(y), context)
        return None if found is None else _restored(found, of_y)


@dataclass(frozen=True, kw_only=True)
class LastValue:
    """The last output stays."""

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the last output of the context, at every step."""
        return y[:, -1:].expand(-1, action.shape[1], -1), None

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer:
        """Return the output before."""
        return y[:, context - 1 : -1], None


@dataclass(frozen=True, kw_only=True)
class ContextMean:
    """The mean of the context's outputs, with their standard deviation."""

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the mean of the context, at every step."""
        return tuple(part.expand(-1, action.shape[1], -1) for part in self._moments(y))  # pyright: ignore[reportReturnType]

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer:
        """Return the mean of the context, at every step."""
        return self.simulate(u[:, :context], y[:, :context], u[:, context:])

    def _moments(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y.mean(1, keepdim=True), y.std(1, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class Arx:
    """Regression on past outputs and inputs, y_t = sum_k A_k y_(t-k) + sum_k B_k u_(t-k) + c (Ljung 1999, section 10.1).

    k runs over 1 .. n for outputs and 0 .. n for inputs. Ridge least squares by QR, the penalty a share of the mean squared
    regressor. ``feedback`` off leaves the outputs out: a finite impulse response. One-step predictions are by a model that is
    chosen and fitted anew to all that is known every ``refit`` steps, as a meta-model reads on, too.

    Attributes:
        feedback: Whether past outputs are regressors.
        orders: Values of n to choose from; those with more regressors than three quarters of the fitted steps are left out.
        ridges: Penalties to choose from.
        refit: Steps between two fits of the one-step prediction.
    """

    feedback: bool = True
    orders: tuple[int, ...] = (2, 5, 10, 20, 30)
    ridges: tuple[float, ...] = (1e-12, 1e-4, 1e-2)
    refit: int = 100

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the free run after the context; the outputs that start it are the context's last."""
        train = u.shape[1] - u.shape[1] // 4
        candidates = self._candidates(u, y, train)
        errors = []
        for order, ridge in candidates:
            weights = self._fit(u[:, :train], y[:, :train], order, ridge)
            errors.append(mean_squared(self._free_run(weights, u, y[:, :train], order), y[:, train:]))
        inputs = torch.cat([u, action], 1)
        answer = y.new_zeros(len(y), action.shape[1], y.shape[2])
        for (order, ridge), rows in chosen(candidates, errors):
            weights = self._fit(u[rows], y[rows], order, ridge)
            answer[rows] = self._free_run(weights, inputs[rows], y[rows], order)
        return answer, None

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> Answer:
        """Return the one-step predictions after the context."""
        ends = range(context, y.shape[1], self.refit)
        return torch.cat([self._next(u[:, : k + self.refit], y[:, : k + self.refit], k) for k in ends], 1), None

    def _next(self, u: Tensor, y: Tensor, known: int) -> Tensor:
        """Return the one-step predictions from step ``known`` on by a fit to the steps before it."""
        train = known - known // 4
        candidates = self._candidates(u[:, :known], y, train)
        errors = []
        for order, ridge in candidates:
            weights = self._fit(u[:, :train], y[:, :train], order, ridge)
            x = self._regressors(u[:, :known], y[:, :known], order)[:, train - order :]
            errors.append(mean_squared(x @ weights, y[:, train:known]))
        answer = y.new_zeros(len(y), y.shape[1] - known, y.shape[2])
        for (order, ridge), rows in chosen(candidates, errors):
            weights = self._fit(u[rows, :known], y[rows, :known], order, ridge)
            answer[rows] = self._regressors(u[rows], y[rows], order)[:, known - order :] @ weights
        return answer

    def _candidates(self, u: Tensor, y: Tensor, train: int) -> list[tuple[int, float]]:
        width = u.shape[2] + (y.shape[2] if self.feedback else 0)
        orders = [n for n in self.orders if n * width + u.shape[2] + 1 <= 0.75 * (train - n)]
        _check_length(self, u, orders)
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
    """A state-space model by the subspace method ``fit_subspace``.

    Attributes:
        orders: Numbers of states to choose from.
        rows: Block rows of the Hankel matrices; at most an eighth of the fitted steps.
    """

    orders: tuple[int, ...] = (1, 2, 4, 6, 8, 10)
    rows: int = 15

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the free run of the model from its own state at the end of the context."""
        answer = y.new_zeros(len(y), action.shape[1], y.shape[2])
        inputs = torch.cat([u, action], 1)
        for model, rows in self.fit(u, y):
            answer[rows] = model.simulate(inputs[rows])[:, u.shape[1] :]
        return answer, None

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> None:
        """Return nothing: the method gives no noise model here, so it only simulates."""

    def fit(self, u: Inputs, y: Outputs) -> list[tuple[StateSpace, Shaped[Tensor, " m"]]]:
        """Return models of the best orders, each with the sequences that it is of.

        Raises:
            TooShortError: There are too few steps.
        """
        train = u.shape[1] - u.shape[1] // 4
        rows = min(self.rows, train // 8)
        orders = [n for n in self.orders if n < rows * y.shape[2]]
        _check_length(self, u, orders)
        models = fit_subspace(u[:, :train], y[:, :train], orders, rows)
        errors = [mean_squared(model.simulate(u)[:, train:], y[:, train:]) for model in models]
        return [(fit_subspace(u[mine], y[mine], [n], rows)[0], mine) for n, mine in chosen(orders, errors)]


@dataclass(frozen=True, kw_only=True)
class OutputErrorModels:
    """Output-error models of several orders by Steiglitz & McBride (1965), averaged with Akaike's weights; simulates only.

    The deviation is that of an output as it would be measured: what the average leaves in the context, and how far the models
    are apart.

    Attributes:
        orders: Numbers of poles; those with more coefficients than a third of the context are left out.
        iterations: Iterations of each fit.
    """

    orders: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10)
    iterations: int = 8

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the simulation after the context, from the context's first step on."""
        orders = [n for n in self.orders if 3 * ((n + 1) * u.shape[2] + n) <= u.shape[1]]
        _check_length(self, u, orders)
        found, m = averaged_output_error(torch.cat([u, action], 1), y, orders, self.iterations), u.shape[1]
        return found.mean[:, m:], (found.error.square() + found.spread[:, m:].square()).sqrt()

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> None:
        """Return nothing: the noise is added to the output, so that outputs tell nothing about the next one."""


def _check_length(method: Identifier, u: Inputs, orders: Sequence[int]) -> None:
    """Raise ``TooShortError`` where the context is so for any order."""
    if not orders:
        raise TooShortError(f"identify: a context of {u.shape[1]} steps is too short to fit {type(method).__name__}")


def _restored(found: Answer, of_y: Scale) -> Answer:
    mean, deviation = found
    return of_y.restore(mean), None if deviation is None else of_y.deviation * deviation


def ridge_solution(x: Float[Tensor, "b t r"], y: Float[Tensor, "b t p"], ridge: float) -> Float[Tensor, "b r p"]:
    """Return the minimiser of |y - x w|^2 + ridge * t * mean(x^2) |w|^2, by QR, which does not square the condition."""
    scale = (ridge * x.shape[1] * x.square().mean((1, 2), keepdim=True)).sqrt().clamp(min=1e-150)
    penalty = scale * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    q, r = torch.linalg.qr(torch.cat([x, penalty], 1))
    return torch.linalg.solve_triangular(r, q[:, : x.shape[1]].mT @ y, upper=True)


def mean_squared(found: Float[Tensor, "b t p"], truth: Float[Tensor, "b t p"]) -> Float[Tensor, " b"]:
    """Return the mean squared error of every sequence; infinite where it is no number."""
    return (found - truth).square().mean((1, 2)).nan_to_num(torch.inf)


def chosen(candidates: Sequence[T], errors: Sequence[Tensor]) -> list[tuple[T, Shaped[Tensor, " m"]]]:
    """Return each candidate that is best for some sequences, with these sequences."""
    best = torch.stack(list(errors)).argmin(0)
    groups = [(candidate, (best == k).nonzero()[:, 0]) for k, candidate in enumerate(candidates)]
    return [(candidate, rows) for candidate, rows in groups if len(rows)]
