"""Planners: search for actions whose imagined consequences cost least. They know a cost, and nothing of models or worlds.

A cost takes candidates [b, s, f, a], s sequences of f actions for each of b problems, and returns [b, s]. All problems are
searched at once, each by itself: no number of one depends on another, but for the random numbers' order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError

Cost = Callable[[Float[Tensor, "b s f a"]], Float[Tensor, "b s"]]


@dataclass(frozen=True, kw_only=True)
class Search:
    """Where a search stands: the plan, and what the next one may start from.

    Attributes:
        plan: The actions found.
        elites: Its best candidates, of planners that keep some.
    """

    plan: Float[Tensor, "b f a"]
    elites: Float[Tensor, "b k f a"] | None = None

    def shifted(self, steps: int) -> "Search":
        """Return the search after the first ``steps`` actions were carried out; the last ones are zero."""

        def shift(x: Tensor) -> Tensor:
            return torch.cat([x[..., steps:, :], torch.zeros_like(x[..., :steps, :])], -2)

        return Search(plan=shift(self.plan), elites=None if self.elites is None else shift(self.elites))


@runtime_checkable
class Planner(Protocol):
    """Improves a plan."""

    @property
    def candidates(self) -> int:
        """Sequences of actions that one search asks the cost about."""
        ...

    def search(self, cost: Cost, start: Search, limit: float, generator: torch.Generator) -> Search:
        """Return a plan that costs less, no action of it longer than ``limit``."""
        ...


@dataclass(frozen=True, kw_only=True)
class CEM:
    """The cross-entropy method (Rubinstein 1999; as a planner de Boer et al. 2005).

    Candidates are drawn from a normal distribution, independent over steps; its mean and standard deviation become those of
    the ``elites`` cheapest, and so on. The plan is the last mean.

    Attributes:
        samples: Candidates of an iteration.
        elites: How many of them shape the next one.
        iterations: Iterations of a search.
        spread: First standard deviation, as a share of the longest action.
        floor: Least standard deviation, as such a share.
        momentum: Share of the old mean and standard deviation that is kept.
    """

    samples: int = 200
    elites: int = 20
    iterations: int = 10
    spread: float = 0.6
    floor: float = 0.02
    momentum: float = 0.0

    def __post_init__(self) -> None:
        """Check the options."""
        _check("cem", self.samples, self.iterations, self.spread)
        if not 2 <= self.elites <= self.samples or not 0 <= self.momentum < 1 or self.floor < 0:
            raise UserError(
                f"cem: expected 2 to {self.samples} elites, 0 <= momentum < 1, floor >= 0, "
                f"got {self.elites}, {self.momentum}, {self.floor}"
            )

    @property
    def candidates(self) -> int:
        """Sequences of actions that one search asks the cost about."""
        return self.samples * self.iterations

    def search(self, cost: Cost, start: Search, limit: float, generator: torch.Generator) -> Search:
        """Return the mean of the elites of the last iteration."""
        mean = start.plan
        spread = torch.full_like(mean, self.spread * limit)
        for _ in range(self.iterations):
            noise = _normal((mean.shape[0], self.samples, *mean.shape[1:]), generator, mean)
            drawn = capped(mean[:, None] + spread[:, None] * noise, limit)
            best = _best(drawn, cost(drawn), self.elites)
            new = best.std(1).clamp(min=self.floor * limit)
            mean = self.momentum * mean + (1 - self.momentum) * best.mean(1)
            spread = self.momentum * spread + (1 - self.momentum) * new
        return Search(plan=capped(mean, limit))


@dataclass(frozen=True, kw_only=True)
class ICEM:
    """The improved cross-entropy method (Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method").

    As ``CEM``, but noise is coloured over the steps, with power ``1 / frequency^colour``; some elites stay candidates, of the
    last iteration and, shifted, of the last search; iterations draw ever fewer candidates; the last one also tries the mean;
    the plan is the cheapest candidate that was ever seen.

    Attributes:
        samples: Candidates of the first iteration.
        elites: How many candidates shape the next iteration.
        iterations: Iterations of a search.
        spread: First standard deviation, as a share of the longest action.
        colour: Exponent of the noise: 0 white, 1 pink, 2 brown.
        hold: Steps for which a value of the noise is kept (Howell et al. 2022, "Predictive Sampling", knots of order zero).
            Long ones go straight for a while, and so around walls.
        kept: Share of the elites that stay candidates.
        decay: Each iteration draws so many times fewer candidates, though at least twice the elites.
        momentum: Share of the old mean and standard deviation that is kept.
    """

    samples: int = 200
    elites: int = 20
    iterations: int = 10
    spread: float = 0.6
    colour: float = 2.0
    hold: int = 1
    kept: float = 0.3
    decay: float = 1.25
    momentum: float = 0.1

    def __post_init__(self) -> None:
        """Check the options."""
        _check("icem", self.samples, self.iterations, self.spread)
        if not 2 <= self.elites <= self.samples or not 0 <= self.momentum < 1 or not 0 <= self.kept <= 1:
            raise UserError(
                f"icem: expected 2 to {self.samples} elites, 0 <= momentum < 1, 0 <= kept <= 1, "
                f"got {self.elites}, {self.momentum}, {self.kept}"
            )
        if self.decay < 1 or self.colour < 0 or self.hold < 1:
            raise UserError(
                f"icem: expected decay >= 1, colour >= 0, hold >= 1, got {self.decay}, {self.colour}, {self.hold}"
            )

    @property
    def candidates(self) -> int:
        """Sequences of actions that one search asks the cost about, those that are kept counted once."""
        return sum(self._drawn(i) for i in range(self.iterations)) + 1

    def search(self, cost: Cost, start: Search, limit: float, generator: torch.Generator) -> Search:
        """Return the cheapest candidate of all iterations, and the elites of the last one."""
        mean, kept = start.plan, start.elites
        spread = torch.full_like(mean, self.spread * limit)
        plan, cheapest = mean, mean.new_full(mean.shape[:1], torch.inf)
        best = mean[:, None]
        for i in range(self.iterations):
            noise = self._noise((mean.shape[0], self._drawn(i), *mean.shape[1:]), generator, mean)
            drawn = [capped(mean[:, None] + spread[:, None] * noise, limit)]
            drawn += [] if kept is None else [kept]
            drawn += [capped(mean, limit)[:, None]] if i == self.iterations - 1 else []
            tried = torch.cat(drawn, 1)
            costs = cost(tried)
            lowest, which = costs.min(1)
            better = lowest < cheapest
            plan = torch.where(better[:, None, None], tried[torch.arange(len(tried)), which], plan)
            cheapest = torch.where(better, lowest, cheapest)
            best = _best(tried, costs, self.elites)
            kept = best[:, : round(self.kept * self.elites)]
            mean = self.momentum * mean + (1 - self.momentum) * best.mean(1)
            spread = self.momentum * spread + (1 - self.momentum) * best.std(1)
        return Search(plan=plan, elites=best[:, : round(self.kept * self.elites)])

    def _noise(self, shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Float[Tensor, "b s f a"]:
        """Return coloured noise, each value kept for ``hold`` steps; the first one is cut short by chance."""
        if self.hold == 1:
            return coloured(shape, self.colour, generator, like)
        first = int(torch.randint(self.hold, (1,), generator=generator, device=generator.device))
        knots = coloured((*shape[:2], -(-(first + shape[2]) // self.hold), *shape[3:]), self.colour, generator, like)
        return knots.repeat_interleave(self.hold, 2)[:, :, first : first + shape[2]]

    def _drawn(self, iteration: int) -> int:
        return min(self.samples, max(2 * self.elites, round(self.samples / self.decay**iteration)))


@dataclass(frozen=True, kw_only=True)
class MPPI:
    """Model predictive path integral control (Williams et al. 2017, "Information Theoretic MPC", algorithm 2).

    The new plan is the mean of the candidates with weights ``softmax(-cost / (temperature * sd(cost)))``: the temperature is
    measured in standard deviations of the candidates' costs, so that it means the same for latents of any scale.

    Attributes:
        samples: Candidates of an iteration.
        iterations: Iterations of a search.
        spread: Standard deviation of the candidates, as a share of the longest action.
        temperature: Low: only the cheapest count. High: all count alike.
    """

    samples: int = 500
    iterations: int = 6
    spread: float = 0.6
    temperature: float = 0.1

    def __post_init__(self) -> None:
        """Check the options."""
        _check("mppi", self.samples, self.iterations, self.spread)
        if self.temperature <= 0:
            raise UserError(f"mppi.temperature: expected a positive number, got {self.temperature}")

    @property
    def candidates(self) -> int:
        """Sequences of actions that one search asks the cost about."""
        return self.samples * self.iterations

    def search(self, cost: Cost, start: Search, limit: float, generator: torch.Generator) -> Search:
        """Return the weighted mean of the last iteration's candidates; the plan itself is always one of them."""
        mean = start.plan
        for _ in range(self.iterations):
            noise = _normal((mean.shape[0], self.samples, *mean.shape[1:]), generator, mean)
            noise[:, 0] = 0
            drawn = capped(mean[:, None] + self.spread * limit * noise, limit)
            costs = cost(drawn)
            scale = costs.std(1, keepdim=True).clamp(min=torch.finfo(costs.dtype).tiny)
            weights = torch.softmax(-(costs - costs.amin(1, keepdim=True)) / (self.temperature * scale), 1)
            mean = (weights[..., None, None] * drawn).sum(1)
        return Search(plan=mean)


@dataclass(frozen=True, kw_only=True)
class GradientMPC:
    """Gradient descent on the actions, by Adam, through the model, from several starts; the cheapest plan wins.

    Attributes:
        samples: Starts: the plan itself, and so many less one drawn around it.
        iterations: Steps of Adam.
        spread: Standard deviation of the starts, as a share of the longest action.
        learning_rate: Of Adam, as a share of the longest action.
    """

    samples: int = 8
    iterations: int = 50
    spread: float = 0.6
    learning_rate: float = 0.1

    def __post_init__(self) -> None:
        """Check the options."""
        _check("gradientmpc", self.samples, self.iterations, self.spread)
        if self.learning_rate <= 0:
            raise UserError(f"gradientmpc.learning_rate: expected a positive number, got {self.learning_rate}")

    @property
    def candidates(self) -> int:
        """Sequences of actions that one search asks the cost about."""
        return self.samples * (self.iterations + 1)

    def search(self, cost: Cost, start: Search, limit: float, generator: torch.Generator) -> Search:
        """Return the cheapest of all the plans on the way.

        Raises:
            UserError: The cost has no gradient.
        """
        noise = _normal((start.plan.shape[0], self.samples, *start.plan.shape[1:]), generator, start.plan)
        noise[:, 0] = 0
        with torch.enable_grad():
            actions = capped(start.plan[:, None] + self.spread * limit * noise, limit).requires_grad_()
            optimizer = torch.optim.Adam([actions], lr=self.learning_rate * limit)
            plan, cheapest = start.plan, start.plan.new_full(start.plan.shape[:1], torch.inf)
            for i in range(self.iterations + 1):
                costs = cost(actions)
                tried = actions.detach().clone()
                lowest, which = costs.detach().min(1)
                better = lowest < cheapest
                plan = torch.where(better[:, None, None], tried[torch.arange(len(tried)), which], plan)
                cheapest = torch.where(better, lowest, cheapest)
                if i == self.iterations:
                    break
                if not costs.requires_grad:
                    raise UserError(
                        "gradientmpc: expected a model that passes gradients from its latents to the actions"
                    )
                (actions.grad,) = torch.autograd.grad(costs.sum(), actions)
                optimizer.step()
                with torch.no_grad():
                    actions.copy_(capped(actions, limit))
        return Search(plan=plan)


def capped(action: Float[Tensor, "*s a"], limit: float) -> Float[Tensor, "*s a"]:
    """Return the actions, those longer than ``limit`` shortened to it."""
    length = action.norm(dim=-1, keepdim=True)
    return action * (limit / length.clamp(min=limit))


def coloured(
    shape: tuple[int, ...], exponent: float, generator: torch.Generator, like: Tensor
) -> Float[Tensor, "b s f a"]:
    """Return normal noise over the steps, the third dimension, whose power falls as ``1 / frequency^exponent``.

    Of unit variance at every step (Timmer & Koenig 1995). With the exponent 0 it is white. The lowest frequency is that of a
    series twice as long, of which the first half is returned, so that its end is not tied to its beginning.
    """
    if exponent == 0 or shape[2] == 1:
        return _normal(shape, generator, like)
    steps = 2 * shape[2]
    white = _normal((*shape[:2], steps, *shape[3:]), generator, like)
    spectrum = torch.fft.rfft(white, dim=2)
    frequency = torch.arange(spectrum.shape[2], device=like.device, dtype=like.dtype)
    gain = frequency.clamp(min=1) ** (-exponent / 2)
    twice = torch.full_like(gain, 2.0)  # all but the first and the last frequency stand for two
    twice[0] = twice[-1] = 1.0
    gain = gain / ((gain.square() * twice).sum() / steps).sqrt()
    return torch.fft.irfft(spectrum * gain[:, None], n=steps, dim=2)[:, :, : shape[2]]


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)


def _best(candidates: Tensor, costs: Tensor, count: int) -> Tensor:
    """Return the cheapest candidates of each problem [b, count, f, a], the cheapest first. What is not a number is dear."""
    order = costs.nan_to_num(nan=torch.inf).argsort(dim=1, stable=True)[:, :count]
    return candidates[torch.arange(len(candidates), device=order.device)[:, None], order]


def _check(name: str, samples: int, iterations: int, spread: float) -> None:
    if samples < 2 or iterations < 1 or spread <= 0:
        raise UserError(
            f"{name}: expected samples >= 2, iterations >= 1, spread > 0, got {samples}, {iterations}, {spread}"
        )
