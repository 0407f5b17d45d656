"""Acting in a world: problems of the kind "from here to there", episodes, and how well they went."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dynarium.data.generate import seeded
from dynarium.errors import UserError
from dynarium.tasks.origin import as_of
from dynarium.types import Trajectory

DRAWS = 200
"""Pairs of start and goal that are drawn for a problem before none is said to be far enough."""

Policy = Callable[[int, Float[Tensor, "b n"], Int[Tensor, " b"]], Float[Tensor, "b r a"]]
"""From the step, the true states and the numbers of their problems to the next actions: one, or some in advance."""


@dataclass(frozen=True, kw_only=True)
class Problems:
    """Starts and goals in one world.

    Attributes:
        world: A world with ``transition`` and ``render``.
        parameters: Its parameters in each problem.
        start: First states.
        goal: States wanted.
        drawn: A trajectory of each problem as long as an episode: what else the world needs for its pictures, such as noise.
        dims: The dimensions of the state that are asked about, x and y.
    """

    world: Any
    parameters: Float[Tensor, "b q"]
    start: Float[Tensor, "b n"]
    goal: Float[Tensor, "b n"]
    drawn: Trajectory
    dims: tuple[int, ...]

    def frames(self, state: Float[Tensor, "b n"], which: Int[Tensor, " b"], step: int) -> Shaped[Tensor, "b 1 c h w"]:
        """Draw one frame of each state, with what its problem's picture shows besides at that step of an episode.

        Raises:
            UserError: The world is not seen.
        """
        steps, extra = self.drawn.state.shape[1], {"step": torch.full((len(state), 1), step)}
        for name, value in self.drawn.extra.items():
            stepped = value.ndim > 1 and value.shape[1] == steps
            extra[name] = value[which, step : step + 1] if stepped else value[which]
        trajectory = replace(
            self.drawn,
            state=state[:, None],
            action=None,
            observation=None,
            parameter=self.parameters[which],
            task=None if self.drawn.task is None else self.drawn.task[which],
            mode=None if self.drawn.mode is None else self.drawn.mode[which, step : step + 1],
            extra=extra,
        )
        video = self.world.render(trajectory)
        if video is None:
            raise UserError(f"plan: expected a world that is seen, got {type(self.world).__name__}")
        return video.float() if video.is_floating_point() else video

    def distance(self, state: Float[Tensor, "b *s n"], which: Int[Tensor, " b"] | None = None) -> Float[Tensor, "b *s"]:
        """Return how far states are from their goals, in the plane."""
        goal = (self.goal if which is None else self.goal[which])[:, list(self.dims)]
        goal = goal.reshape(len(goal), *(1,) * (state.ndim - 2), -1)
        return (state[..., list(self.dims)] - goal).norm(dim=-1)

    def shortest(self, start: Float[Tensor, "b n"], goal: Float[Tensor, "b n"]) -> Float[Tensor, " b"]:
        """Return the length of the shortest way from place to place; NaN where the world does not know it."""
        known, dims = getattr(self.world, "shortest_path", None), list(self.dims)
        if known is None:
            return start.new_full(start.shape[:1], math.nan)
        return known(start[:, dims], goal[:, dims], self.parameters)

    @property
    def limit(self) -> float:
        """Length of the longest action: the world's ``max_action`` or ``max_step``, or else the longest that it drew."""
        assert self.drawn.action is not None
        named = [getattr(self.world, name, None) for name in ("max_action", "max_step")]
        return float(next((x for x in named if x), self.drawn.action.norm(dim=-1).max()))


def problems_of(
    world: Any, n: int, steps: int, *, dims: tuple[int, ...], distance: float, detour: float, seed: int, split: str
) -> Problems:
    """Draw starts, and goals as the world draws first states under the same parameters.

    Args:
        world: Where to act.
        n: Number of problems.
        steps: Steps of an episode.
        dims: Dimensions of the state that must come to be those of the goal; the others of a goal are those of the start.
        distance: Least distance of start and goal.
        detour: Least shortest way from start to goal, as a multiple of their distance.
        seed: Seed of the problems.
        split: Name of these problems; others are others.

    Raises:
        UserError: The world has no ``transition``, no actions, or no such goals.
    """
    name = type(world).__name__
    world = as_of(world, split)
    if not callable(getattr(world, "transition", None)):
        raise UserError(f"plan: expected a world that can be acted in (with transition), got {name}")
    if detour > 1 and not callable(getattr(world, "shortest_path", None)):
        raise UserError(f"plan.detour: expected a world that knows its shortest paths, got {name}")
    generator = seeded(seed, "plan", split)
    parameters = world.sample_parameters(n, generator)
    drawn = world.simulate(parameters, steps + 1, generator)
    if drawn.action is None:
        raise UserError(f"plan: expected a world with actions, got {name}")
    known = drawn.state.shape[-1]
    if not dims or len(set(dims)) < len(dims) or not all(0 <= k < known for k in dims):
        raise UserError(f"plan.dims: expected different ones of the {known} dimensions 0 .. {known - 1}, got {dims}")
    start, goal, found = drawn.state[:, 0], drawn.state[:, 0], torch.zeros(n, dtype=torch.bool)
    problems = Problems(world=world, parameters=parameters, start=start, goal=goal, drawn=drawn, dims=dims)
    for _ in range(DRAWS):
        first, last = (world.simulate(parameters, 2, generator).state[:, 0] for _ in range(2))
        candidate = first.index_copy(1, torch.tensor(dims), last[:, list(dims)])
        apart = (candidate - first)[:, list(dims)].norm(dim=-1)
        good = (apart >= distance) & ~found
        if detour > 1:
            good &= problems.shortest(first, candidate) >= detour * apart
        start, goal = torch.where(good[:, None], first, start), torch.where(good[:, None], candidate, goal)
        found |= good
        if bool(found.all()):
            break
    else:
        raise UserError(f"plan: {name} has too few goals {distance:g} px away with a way {detour:g} times as long")
    return replace(problems, start=start, goal=goal)


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """States [b, t + 1, n] from the start on; those of an episode that was ended stay its last."""

    state: Float[Tensor, "b t n"]

    def reached(self, distance: Float[Tensor, "b t"], tolerance: float) -> tuple[Tensor, Tensor]:
        """Return whether an episode came within a tolerance, and at which step first (the last step if never)."""
        within = distance <= tolerance
        return within.any(1), torch.where(within.any(1), within.int().argmax(1), distance.shape[1] - 1)

    def travelled(self, dims: tuple[int, ...]) -> Float[Tensor, "b t"]:
        """Return the length of the way up to every step, in the plane."""
        moves = self.state[..., list(dims)].diff(dim=1).norm(dim=-1)
        return torch.cat([torch.zeros_like(moves[:, :1]), moves.cumsum(1)], 1)


class Ways:
    """How long the shortest ways to the goals are, remembered for each pixel, as a planner asks for millions of them.

    Where the goal can be seen from the middle of a state's pixel, its distance, exact; else the way from that middle. Where the
    world does not know its shortest ways, the distance.
    """

    def __init__(self, problems: Problems) -> None:
        one = torch.zeros(1, dtype=torch.int64)
        side = max(problems.frames(problems.start[:1], one, 0).shape[-2:])
        self.problems, self.side = problems, side
        self.length = torch.zeros(len(problems.goal), side, side, dtype=torch.float64)
        self.known = torch.zeros_like(self.length, dtype=torch.bool)

    def __call__(self, state: Float[Tensor, "m n"], which: Int[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return the lengths from states to the goals of their problems."""
        problems, dims = self.problems, list(self.problems.dims)
        distance = problems.distance(state, which)
        ask = getattr(problems.world, "shortest_path", None)
        if ask is None:
            return distance
        x, y = state[:, dims].round().long().clamp(0, self.side - 1).unbind(1)
        new = ~self.known[which, y, x]
        problem, row, column = torch.stack([which, y, x], 1)[new].unique(dim=0).unbind(1)
        if len(problem):
            middle, goal = torch.stack([column, row], 1).to(state.dtype), problems.goal[problem][:, dims]
            length = ask(middle, goal, problems.parameters[problem])
            seen = length <= (middle - goal).norm(dim=1) + 1e-6
            self.length[problem, row, column] = torch.where(seen, 0.0, length)
            self.known[problem, row, column] = True
        around = self.length[which, y, x]
        return torch.where(around > 0, around, distance)


def act(problems: Problems, policy: Policy, steps: int, *, stop: float | None = None) -> Episodes:
    """Act in the true world.

    Args:
        problems: Where from, where to.
        policy: Says the next actions; asked again when they are used up.
        steps: Steps of an episode.
        stop: End an episode when it comes so close to its goal; ``None``: go on to the last step.
    """
    state, states = problems.start, [problems.start]
    which, pending = torch.arange(len(state)), None
    for step in range(steps):
        if pending is None or pending.shape[1] == 0:
            if stop is not None:
                which = which[problems.distance(state[which], which) > stop]
            if not len(which):
                break
            pending = policy(step, state[which], which).to(state.dtype).cpu()
        after = problems.world.transition(state[which], pending[:, 0], problems.parameters[which])
        state, pending = state.index_copy(0, which, after), pending[:, 1:]
        states.append(state)
    states += [state] * (steps + 1 - len(states))
    return Episodes(state=torch.stack(states, 1))
