"""Moving dots: points of light that wander over a small dark frame, the test bed of latent world models."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.gaussians import gaussian_dots, peak
from dynarium.systems.checks import check_choice, check_not_negative, check_positive
from dynarium.systems.draws import uniform, von_mises
from dynarium.systems.noise import PARAMETERS, Noise
from dynarium.systems.rooms import shortened
from dynarium.types import Trajectory

_CLEAN = Noise()


@dataclass(frozen=True, kw_only=True)
class MovingDots:
    """Dots that are moved by actions and stopped by the walls of a square (Sobal et al. 2022, section 4).

    A dot at u goes to clamp(u + a, p, side - 1 - p) in each coordinate, where p = 2 ``std`` keeps it in the picture. The
    first u is uniform over that square. The action a has a uniform length and, around a mean direction drawn once for each
    sequence, a von Mises direction; it is stored as it was drawn, whatever the wall left of it. ``action[:, t]`` moves the
    dots from t to t+1. The state holds (x, y) of each dot in px, y down; pixel (row i, column j) has its middle at (j, i).

    Frames are floating point: a dot is a normalised Gaussian, whose middle has the value 1 / (2 pi ``std``^2), .0942 by
    default. A stored dataset holds bytes, 255 ``gain`` times that, and is read back in these units.

    Attributes:
        steps: Default number of time steps of a sequence.
        dots: Number of dots.
        still: How many of them, the last ones, never move.
        std: Standard deviation of a dot in px.
        max_step: Largest length of an action in px.
        concentration: Of the directions around their mean; 0 for directions without any.
        motion: ``wandering``, or ``straight``: the direction is drawn once for each sequence.
        controlled: Whose displacement is the action: the ``first`` dot's, or of ``all``.
        channels: A channel for each dot, or one of their sum.
        side: Height and width of a frame in pixels.
        brightness: Factor of all frames, noise included.
        noise: Overlays, each channel (or dot, in a sum) its own.
    """

    steps: int = 17
    dots: int = 1
    still: int = 0
    std: float = 1.3
    max_step: float = 4.0
    concentration: float = 0.2
    motion: Literal["wandering", "straight"] = "wandering"
    controlled: Literal["first", "all"] = "first"
    channels: Literal["each", "sum"] = "each"
    side: int = 28
    brightness: float = 1.0
    noise: Noise = _CLEAN

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or a frame without room for a dot.
        """
        check_positive(steps=self.steps, dots=self.dots, std=self.std, side=self.side, brightness=self.brightness)
        check_not_negative(still=self.still, max_step=self.max_step, concentration=self.concentration)
        check_choice("motion", self.motion, ("wandering", "straight"))
        check_choice("controlled", self.controlled, ("first", "all"))
        check_choice("channels", self.channels, ("each", "sum"))
        if self.still > self.dots:
            raise UserError(f"still: expected at most the {self.dots} dots, got {self.still}")
        if self.low >= self.high:
            raise UserError(f"side: a dot of std {self.std} px has no room in a frame of {self.side} px")
        if self._brightest > 1:
            limit = self.brightness / self._brightest
            raise UserError(
                f"brightness: expected at most {limit:.3g}, which keeps frames in [0, 1], got {self.brightness}"
            )

    @property
    def dt(self) -> float:
        """Time between two frames."""
        return 1.0

    @property
    def low(self) -> float:
        """Smallest coordinate of a dot in px."""
        return 2 * self.std

    @property
    def high(self) -> float:
        """Largest coordinate of a dot in px."""
        return self.side - 1 - self.low

    @property
    def gain(self) -> float:
        """What makes the brightest possible pixel 1: stored bytes are 255 ``gain`` times the frames."""
        return 1 / self._brightest

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension, dot by dot."""
        if self.dots == 1:
            return ("x [px]", "y [px]")
        return tuple(f"{name}{dot} [px]" for dot in range(self.dots) for name in "xy")

    @property
    def max_action(self) -> float:
        """Largest length of an action in px; a longer one is shortened."""
        return self.max_step

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """What says which overlays a sequence has; nothing where there is no noise."""
        return PARAMETERS if self.noise.level else ()

    def of_split(self, split: str) -> "MovingDots":
        """Return the world as it makes a split: pictures of the training split appear in no other."""
        return replace(self, noise=replace(self.noise, part="train" if split == "train" else "test"))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw which overlays each of ``n`` sequences has; nothing where there is no noise."""
        if self.noise.level:
            return self.noise.sample(n, generator)
        return torch.empty(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw first positions and displacements and return ``steps`` states of each sequence."""
        n = len(parameters)
        first = uniform((self.low, self.high), (n, self.dots, 2), generator)
        moves = self._draw_moves(n, steps, generator)
        positions = [first]
        for t in range(steps - 1):
            positions.append((positions[-1] + moves[:, t]).clamp_(self.low, self.high))
        acting = self.dots if self.controlled == "all" else 1
        return Trajectory(
            state=torch.stack(positions, 1).flatten(2), action=moves[:, :, :acting].flatten(2), parameter=parameters
        )

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the state after one action; dots without an action stay where they are."""
        move = shortened(action.unflatten(1, (-1, 2)), self.max_action).flatten(1)
        moved = (state[:, : move.shape[1]] + move).clamp(self.low, self.high)
        return torch.cat([moved, state[:, move.shape[1] :]], 1)

    def shortest_path(
        self, start: Float[Tensor, "b 2"], goal: Float[Tensor, "b 2"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, " b"]:
        """Return the length in px of the straight line from start to goal: nothing is in the way."""
        return (goal - start).norm(dim=-1)

    def render(self, trajectory: Trajectory) -> Float[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t."""
        frames = gaussian_dots(trajectory.state.unflatten(-1, (self.dots, 2)), self.std, self.side)
        if self.noise.level:
            if trajectory.parameter is None:
                raise UserError(
                    "trajectory.parameter: expected what sample_parameters drew, which says which noise; got none"
                )
            first = int(trajectory.extra["step"][0, 0]) if "step" in trajectory.extra else 0
            frames = self.noise.add(frames, trajectory.parameter, trajectory.state, peak(self.std), first)
        if self.channels == "sum" and self.dots > 1:
            frames = frames.sum(2, keepdim=True)
        return frames if self.brightness == 1 else frames.mul_(self.brightness)

    def foreground(self, state: Float[Tensor, "b t n"]) -> Float[Tensor, "b t c h w"]:
        """Draw the first dot alone, without noise."""
        frames = self.brightness * gaussian_dots(state.unflatten(-1, (self.dots, 2)), self.std, self.side)
        frames[:, :, 1:] = 0
        return frames[:, :, :1] if self.channels == "sum" else frames

    @property
    def _brightest(self) -> float:
        """Return a bound of what a pixel can reach."""
        dots = self.dots if self.channels == "sum" else 1
        return self.brightness * peak(self.std) * (1 + self.noise.level) * dots

    def _draw_moves(self, n: int, steps: int, generator: torch.Generator) -> Float[Tensor, "b t k 2"]:
        """Draw the displacement of each dot at each step."""
        moving = self.dots - self.still
        direction = uniform((0.0, 2 * math.pi), (n, 1, moving), generator)
        if self.motion == "wandering":
            direction = direction + von_mises(self.concentration, (n, steps, moving), generator)
        length = uniform((0.0, self.max_step), (n, steps, moving), generator)
        moves = torch.stack([length * direction.cos(), length * direction.sin()], -1)
        return torch.cat([moves, moves.new_zeros(n, steps, self.still, 2)], 2) if self.still else moves


def moving_dot() -> MovingDots:
    """Return one dot that wanders over a dark frame of 28 x 28 px (Sobal et al. 2022)."""
    return MovingDots()


def moving_dots() -> MovingDots:
    """Return three dots, a channel each: the first is moved by the action, the last never moves (Sobal et al. 2022)."""
    return MovingDots(dots=3, still=1)
