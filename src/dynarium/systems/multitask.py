"""Several worlds in one dataset: the setting of meta-learning and of continual learning."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.base import System
from dynarium.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class MultiTask:
    """Worlds dealt out in turn: sequence i of a split follows ``worlds[i % len(worlds)]``, and ``task`` says which.

    States and further fields of fewer dimensions are padded with zeros. The parameters are the union of the worlds' own, by
    name; zero where a world lacks one. Grey frames of a set that also has coloured ones are repeated over its channels.
    Where the worlds differ in their time step, ``extra["dt"]`` keeps it.

    Attributes:
        worlds: The tasks.
        side: Height and width of a frame in pixels, for all worlds; ``None``: their own, which must agree.
    """

    worlds: tuple[System, ...]
    side: int | None = None

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: No world, a world of worlds, or a world without the option ``side``.
        """
        if not self.worlds or any(isinstance(world, MultiTask) for world in self.worlds):
            raise UserError("worlds: expected at least one world, none of which is itself of several tasks")
        if self.side is not None:
            object.__setattr__(self, "worlds", tuple(_with_side(world, self.side) for world in self.worlds))

    @property
    def steps(self) -> int:
        """Default number of time steps: the shortest of the worlds'."""
        return min(world.steps for world in self.worlds)

    @property
    def dt(self) -> float:
        """Time between two frames of the first world; ``extra["dt"]`` has all where they differ."""
        return self.worlds[0].dt

    @property
    def state_names(self) -> tuple[str, ...]:
        """The names of the worlds, if they agree; else the position in the state."""
        longest = max((world.state_names for world in self.worlds), key=len)
        if all(world.state_names == longest for world in self.worlds):
            return longest
        return tuple(f"s{i}" for i in range(len(longest)))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Every name that any of the worlds has."""
        return tuple(dict.fromkeys(name for world in self.worlds for name in world.parameter_names))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Deal ``n`` sequences from the first task on and draw their parameters; see ``deal``."""
        return self.deal(0, n, generator)

    def deal(self, first: int, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the parameters of the sequences ``first .. first + n - 1`` of a split, behind a first column with the task."""
        names = ("task", *self.parameter_names)
        table = torch.zeros(n, len(names), dtype=torch.float64, device=generator.device)
        table[:, 0] = torch.arange(first, first + n, device=generator.device) % len(self.worlds)
        for world, mine in self._parts(table):
            columns = [names.index(name) for name in world.parameter_names]
            table[mine[:, None], columns] = world.sample_parameters(len(mine), generator)
        return table

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Simulate every task, and draw it at once into ``extra["video"]`` while its own trajectory is at hand."""
        names, parts = ("task", *self.parameter_names), []
        for world, mine in self._simulators(parameters):
            own = parameters[:, [names.index(name) for name in world.parameter_names]][mine]
            parts.append((mine, _fields(world, own, steps, generator)))
        if len(self._kinds[0]) == 1:
            merged = parts[0][1]
        else:
            merged = {name: _merged(name, like, parts, len(parameters)) for name, like in self._layout(steps).items()}
        if len({world.dt for world in self.worlds}) == 1:
            del merged["dt"]
        own = {name: merged.pop(name, None) for name in ("state", "action", "observation", "mode")}
        return Trajectory(
            **own,  # pyright: ignore[reportArgumentType]
            parameter=parameters[:, 1:] if len(names) > 1 else None,
            task=parameters[:, 0].long(),
            extra=merged,
        )

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"] | None:
        """Return the frames that ``simulate`` drew; ``None`` where no world is seen."""
        return trajectory.extra.get("video")

    @functools.cached_property
    def _kinds(self) -> tuple[list[System], list[int]]:
        """Return what simulates, and which of it each task has; tasks that differ only in sampled parameters share one."""
        simulators: list[Any] = [getattr(world, "simulator", world) for world in self.worlds]
        distinct = [kind for i, kind in enumerate(simulators) if kind not in simulators[:i]]
        return distinct, [distinct.index(kind) for kind in simulators]

    @functools.cached_property
    def _layouts(self) -> dict[int, dict[str, Tensor]]:
        """What ``_layout`` found, by the number of steps."""
        return {}

    def _layout(self, steps: int) -> dict[str, Tensor]:
        """Return an array like every field of one sequence, as large as any task's: no draw's shapes depend on its tasks."""
        if steps not in self._layouts:
            generator = torch.Generator().manual_seed(0)
            samples = [_fields(kind, kind.sample_parameters(1, generator), steps, generator) for kind in self._kinds[0]]
            sides = {tuple(sample["video"].shape[-2:]) for sample in samples if "video" in sample}
            if len(sides) > 1:
                raise UserError(f"worlds: frames of {sorted(sides)} pixels in one dataset; give all the same side")
            held = {
                name: [s[name] for s in samples if name in s] for name in dict.fromkeys(n for s in samples for n in s)
            }
            self._layouts[steps] = {
                name: values[0].new_empty([max(sizes) for sizes in zip(*(v.shape[1:] for v in values), strict=True)])
                for name, values in held.items()
            }
        return self._layouts[steps]

    def _simulators(self, parameters: Tensor) -> list[tuple[System, Int[Tensor, " n"]]]:
        """Return like ``_parts`` what simulates."""
        distinct, kinds = self._kinds
        kind_of = torch.tensor(kinds, device=parameters.device)[parameters[:, 0].long()]
        parts = [(kind, (kind_of == k).nonzero()[:, 0]) for k, kind in enumerate(distinct)]
        return [(kind, mine) for kind, mine in parts if len(mine)]

    def _parts(self, parameters: Tensor) -> list[tuple[System, Int[Tensor, " n"]]]:
        """Return each world that has sequences, and which these are."""
        parts = [(world, (parameters[:, 0] == k).nonzero()[:, 0]) for k, world in enumerate(self.worlds)]
        return [(world, mine) for world, mine in parts if len(mine)]


def _with_side(world: System, side: int) -> Any:
    if not hasattr(world, "side"):
        raise UserError(f"side: {type(world).__name__} has no such option")
    return replace(world, side=side)  # pyright: ignore[reportArgumentType]


def _fields(world: System, parameters: Tensor, steps: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Simulate one task and draw it; return what it has."""
    trajectory = world.simulate(parameters, steps, generator)
    fields = {
        "state": trajectory.state,
        "action": trajectory.action,
        "observation": trajectory.observation,
        "mode": trajectory.mode,
        "video": world.render(trajectory),
        "dt": trajectory.state.new_full((len(parameters), 1), world.dt),
    }
    return {name: value for name, value in (fields | trajectory.extra).items() if value is not None}


def _merged(name: str, like: Tensor, parts: Sequence[tuple[Tensor, dict[str, Tensor]]], n: int) -> Tensor:
    """Put the rows of all parts into one array of the shape of ``like``, zero where a part has nothing."""
    held = [(mine, fields[name]) for mine, fields in parts if name in fields]
    if name == "video":
        held = [(mine, value.expand(-1, -1, like.shape[1], -1, -1)) for mine, value in held]
    full = len(held) == len(parts) and all(value.shape[1:] == like.shape for _, value in held)
    make = torch.empty if full else torch.zeros
    out = make(n, *like.shape, dtype=like.dtype, device=parts[0][0].device)
    for mine, value in held:
        out[(mine, *map(slice, value.shape[1:]))] = value
    return out
