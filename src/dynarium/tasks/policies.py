"""Policies: a planner with a cost of its own, latent or true, and the trivial ones."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dynarium.tasks.acting import Policy, Problems, Ways
from dynarium.tasks.common import device_of
from dynarium.tasks.planners import Cost, Planner, Search, capped

COPIES = 4
"""Tensors of the size of the imagined latents that a model may hold at once: a guess, for the limit on memory."""

Costs = Callable[[int, Float[Tensor, "b n"], Int[Tensor, " b"]], Cost]
"""From step, true states and numbers of their problems to the cost of candidates."""

Over = Literal["sum", "last"]

Distance = Literal["squared", "euclidean", "saturating"]


def latent_costs(
    model: Any, problems: Problems, *, over: Over, distance: Distance, memory: int, near: float = 1.0
) -> Costs:
    """Return the cost ``sum_k d(p_k, g)`` or ``d(p_f, g)`` of imagined latents p to the goal picture's latent g.

    Args:
        model: It imagines.
        problems: The goals.
        over: The ``sum`` over the horizon, or the ``last`` step alone.
        distance: d, ``squared``: the mean squared difference s over the dimensions, ``euclidean``: its root,
            ``saturating``: 1 - exp(-s / near).
        memory: Limit on the memory of imagined latents, in MiB, about; there are as few calls as it allows.
        near: The mean squared difference at which a saturating distance is 1 - 1/e.
    """
    device = device_of(model)
    everyone = torch.arange(len(problems.goal))
    last = problems.drawn.state.shape[1] - 1
    goals = model.embed(problems.frames(problems.goal, everyone, last).to(device))[:, 0]

    def costs(step: int, state: Tensor, which: Tensor) -> Cost:
        start = model.embed(problems.frames(state, which, step).to(device))[:, 0]
        goal = goals[which.to(device)]

        def cost(candidates: Tensor) -> Tensor:
            b, s, f, _ = candidates.shape
            flat = candidates.flatten(0, 1).to(device)
            problem = torch.arange(b, device=device).repeat_interleave(s)
            rows = max(1, memory * 2**20 // (4 * COPIES * f * goal.shape[1]))
            found = []
            for action, of in zip(flat.split(rows), problem.split(rows), strict=True):
                error = (model.imagine(start[of], action) - goal[of, None]).square().mean(-1)
                if distance == "euclidean":
                    error = error.clamp(min=1e-12).sqrt()
                elif distance == "saturating":
                    error = -torch.expm1(-error / near)
                found.append(error.sum(1) if over == "sum" else error[:, -1])
            return torch.cat(found).unflatten(0, (b, s)).to(candidates.device)

        return cost

    return costs


def true_costs(problems: Problems, *, over: Over) -> Costs:
    """Return the cost of candidates under the true law: the squared length of the shortest way left to the goal.

    Where the world does not know its shortest ways, the squared distance.
    """
    ways = Ways(problems)

    def costs(step: int, state: Tensor, which: Tensor) -> Cost:
        del step  # the law does not change

        def cost(candidates: Tensor) -> Tensor:
            b, s, f, _ = candidates.shape
            of = which.repeat_interleave(s)
            x, flat, parts = state.repeat_interleave(s, 0), candidates.flatten(0, 1).to(state.dtype), []
            for t in range(f):
                x = problems.world.transition(x, flat[:, t], problems.parameters[of])
                parts.append(ways(x, of).square())
            total = torch.stack(parts, 1).sum(1) if over == "sum" else parts[-1]
            return total.unflatten(0, (b, s)).to(candidates.dtype)

        return cost

    return costs


class Searching:
    """A policy that searches anew at every look, from where the last search ended.

    Args:
        planner: How it searches.
        costs: What it searches for.
        problems: Where.
        horizon: Actions of a plan.
        replan: Actions until the next look.
        limit: Length of the longest action.
        warm: Start from the last plan, without what was carried out; otherwise from standing still.
        seed: Seed of its candidates.
    """

    def __init__(
        self,
        planner: Planner,
        costs: Costs,
        problems: Problems,
        *,
        horizon: int,
        replan: int,
        limit: float,
        warm: bool,
        seed: int,
    ) -> None:
        assert problems.drawn.action is not None
        self.planner, self.costs, self.replan, self.limit, self.warm = planner, costs, replan, limit, warm
        self.plan = torch.zeros(len(problems.start), horizon, problems.drawn.action.shape[-1])
        self.elites: Tensor | None = None
        self.generator = torch.Generator().manual_seed(seed)
        self.plans: dict[int, Tensor] = {}
        """The plans of all problems at the steps at which it looked."""

    def __call__(self, step: int, state: Tensor, which: Tensor) -> Tensor:
        """Return the next actions."""
        start = Search(plan=torch.zeros_like(self.plan[which]))
        if self.warm and self.plans:
            elites = None if self.elites is None else self.elites[which]
            start = Search(plan=self.plan[which], elites=elites).shifted(self.replan)
        found = self.planner.search(self.costs(step, state, which), start, self.limit, self.generator)
        self.plan = self.plan.index_copy(0, which, found.plan)
        if found.elites is not None:
            before = found.elites.new_zeros(len(self.plan), *found.elites.shape[1:])
            before = before if self.elites is None else self.elites
            self.elites = before.index_copy(0, which, found.elites)
        self.plans[step] = self.plan
        return found.plan[:, : self.replan]


def random_policy(problems: Problems, limit: float, seed: int) -> Policy:
    """Return the policy of random directions and uniform lengths."""
    assert problems.drawn.action is not None
    a, generator = problems.drawn.action.shape[-1], torch.Generator().manual_seed(seed)

    def policy(step: int, state: Tensor, which: Tensor) -> Tensor:
        del step, which
        direction = torch.randn(len(state), 1, a, generator=generator, dtype=state.dtype)
        length = limit * torch.rand(len(state), 1, 1, generator=generator, dtype=state.dtype)
        return length * direction / direction.norm(dim=-1, keepdim=True)

    return policy


def straight_policy(problems: Problems, limit: float) -> Policy:
    """Return the policy that goes straight for the goal, whatever is in between; an action is a displacement."""
    assert problems.drawn.action is not None
    a, dims = problems.drawn.action.shape[-1], list(problems.dims)

    def policy(step: int, state: Tensor, which: Tensor) -> Tensor:
        del step
        away = (problems.goal[which] - state)[:, dims]
        action = torch.zeros(len(state), 1, a, dtype=state.dtype)
        action[:, 0, : len(dims)] = capped(away, limit)
        return action

    return policy
