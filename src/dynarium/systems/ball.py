"""Bouncing balls: equal discs that reflect elastically off the walls of a box or a convex polygon."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering import antialiased_discs, antialiased_walls, hard_discs, hard_walls
from dynarium.systems.billiards import fly, triangle_wave
from dynarium.systems.checks import check_choice, check_not_negative, check_positive, check_range
from dynarium.systems.draws import velocities
from dynarium.systems.impulses import step_impulses
from dynarium.systems.walls import HalfPlanes, half_planes
from dynarium.types import Trajectory

_GAP = 1.0  # px between a disc and the walls when a sequence starts, as in the published sets
_PLACEMENTS = 10_000


@dataclass(frozen=True, kw_only=True)
class BouncingBall:
    """Discs in a container (Fraccaro et al. 2017, section 5.1); the defaults are the paper's box.

    The world is a square of ``extent`` x ``extent`` px with y pointing down; it is drawn on ``side`` x ``side`` pixels,
    so a larger ``side`` shows the same motion in finer pixels. The state holds (x, y, vx, vy) of each ball, in px of
    the world and px per unit of time. Frame t shows state t. Reflections are exact: no ball leaves, no sequence is
    rejected, energy is conserved to rounding.

    The bouncing-ball set that later sequential latent-variable work generates in the same way has ``steps=30, dt=0.25,
    init_std=8, speed=(5, 10), walls_visible=False``; its gravity sets add ``inset=0, angle=(45, 135)`` and a gravity of
    2.5, e.g. ``gravity=(0, 2.5)``.

    Attributes:
        steps: Default number of time steps of a sequence.
        dt: Time between two frames.
        balls: Number of discs; they collide elastically with each other, all masses being 1.
        radius: Radius of the discs in px.
        gravity: Acceleration (x, y) in px per squared unit of time; positive y pulls down.
        extent: Side of the world in px.
        inset: Distance of the box's walls from the edge of the world in px; without effect if there are ``corners``.
        corners: Corners (x, y) of a convex container that replaces the box.
        init_std: Standard deviation of the first positions around the middle of the world, in px; a draw closer than
            1 px to a wall is moved inwards.
        angle: Range of the direction of the first velocity in degrees, uniform; 0 is right, 90 is down.
        speed: Range of the first speed in px per unit of time, uniform.
        side: Height and width of a frame in pixels.
        rendering: ``hard`` for whole pixels as in the published sets, ``antialiased`` for coverage.
        walls_visible: Draw the walls, one pixel thick: white as in the paper's box, or not at all.
        legacy_offset: Pair frame t with state t+1 as the published sets do.
        legacy_contact: Step with one impulse-solver step per frame as the published sets do, sinking into walls and
            tunnelling included; one ball only.
    """

    steps: int = 20
    dt: float = 0.2
    balls: int = 1
    radius: float = 3.0
    gravity: tuple[float, float] = (0.0, 0.0)
    extent: float = 32.0
    inset: float = 2.0
    corners: tuple[tuple[float, float], ...] | None = None
    init_std: float = 10.0
    angle: tuple[float, float] = (0.0, 360.0)
    speed: tuple[float, float] = (10.0, 15.0)
    side: int = 32
    rendering: Literal["hard", "antialiased"] = "hard"
    walls_visible: bool = True
    legacy_offset: bool = False
    legacy_contact: bool = False

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, a container that is not convex, or balls that do not fit.
        """
        check_positive(steps=self.steps, dt=self.dt, balls=self.balls, radius=self.radius, extent=self.extent)
        check_positive(side=self.side)
        check_range("angle", self.angle)
        check_range("speed", self.speed, low=0.0)
        if not all(map(math.isfinite, self.gravity)):
            raise UserError(f"gravity: expected two finite numbers, got {self.gravity}")
        check_not_negative(init_std=self.init_std, inset=self.inset)
        check_choice("rendering", self.rendering, ("hard", "antialiased"))
        room = float(self._room().clearance(self._middle(torch.device("cpu"))).min())
        if room < 0:
            container = f"corners {self.corners}" if self.corners else f"extent {self.extent} and inset {self.inset}"
            raise UserError(f"radius: a disc of radius {self.radius} px has no room in the middle of {container}")
        if self.legacy_contact and self.balls > 1:
            raise UserError(f"legacy_contact: expected 1 ball, got balls={self.balls}")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension, ball by ball."""
        names = ("x [px]", "y [px]", "vx [px/time]", "vy [px/time]")
        if self.balls == 1:
            return names
        return tuple(name.replace(" ", f"{ball} ", 1) for ball in range(self.balls) for name in names)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Gravity."""
        return ("gravity x", "gravity y")

    @property
    def simulator(self) -> "BouncingBall":
        """The same for all gravities: what simulates a table of parameters."""
        return replace(self, gravity=(0.0, 0.0))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return ``gravity`` for each of ``n`` sequences."""
        return torch.tensor([self.gravity], dtype=torch.float64, device=generator.device).expand(n, 2)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and return ``steps`` states; dimension ``4 i + j`` is quantity j of ball i.

        With ``legacy_offset``, ``extra["drawn"]`` holds the states one step earlier, which the frames show.

        Raises:
            UserError: The balls do not fit beside each other, or collide without end.
        """
        position, velocity = self._first_state(len(parameters), generator)
        total = steps + self.legacy_offset
        times = self.dt * torch.arange(total, dtype=torch.float64, device=generator.device)
        if self.legacy_contact:
            x, v = step_impulses(
                position[:, 0],
                velocity[:, 0],
                corners=self.container,
                radius=self.radius,
                gravity=parameters,
                dt=self.dt,
                steps=total,
            )
        elif self.balls == 1 and self.corners is None and not bool(parameters.any()):
            low = self.inset + self.radius
            x, v = triangle_wave(position[:, 0], velocity[:, 0], low, self.extent - low, times)
        else:
            walls = half_planes(self.container, generator.device)
            x, v = fly(position, velocity, times, container=walls, radius=self.radius, gravity=parameters)
        state = torch.cat([x, v], -1).flatten(2)
        if self.legacy_offset:
            return Trajectory(state=state[:, 1:], parameter=parameters, extra={"drawn": state[:, :-1]})
        return Trajectory(state=state, parameter=parameters)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames: white discs, and white walls if visible, on black."""
        state = trajectory.extra.get("drawn", trajectory.state)
        scale = self.side / self.extent
        centres = state.unflatten(-1, (self.balls, 4))[..., :2] * scale
        if self.rendering == "hard":
            corners = [(x * scale, y * scale) for x, y in self.container]
            walls = hard_walls(corners, self.side, state.device) if self.walls_visible else None
            return hard_discs(centres, self.radius * scale, self.side, walls)[:, :, None]
        walls = None
        if self.walls_visible:
            container = half_planes(self.container, state.device)
            walls = antialiased_walls(container.normals, container.offsets * scale, self.side)
        return antialiased_discs(centres, self.radius * scale, self.side, walls)[:, :, None]

    @property
    def container(self) -> tuple[tuple[float, float], ...]:
        """Corners (x, y) of the walls in px of the world."""
        low, high = self.inset, self.extent - self.inset
        return self.corners or ((low, low), (low, high), (high, high), (high, low))

    def _room(self) -> HalfPlanes:
        """Return where centres may start."""
        low = self.inset
        if self.corners is None and self.extent <= 2 * low:
            raise UserError(f"inset: expected less than half of the extent {self.extent}, got {low}")
        return half_planes(self.container).shrunk(self.radius + _GAP)

    def _middle(self, device: torch.device) -> Float[Tensor, "2"]:
        return torch.full((2,), self.extent / 2, dtype=torch.float64, device=device)

    def _first_state(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "b k 2"], Float[Tensor, "b k 2"]]:
        velocity = velocities(self.angle, self.speed, (n, self.balls), generator)
        placed = self._draw_positions((n, 1), generator)
        for ball in range(1, self.balls):
            fresh = self._draw_positions((n, 1), generator)
            for _ in range(_PLACEMENTS):
                overlap = ((placed - fresh).norm(dim=-1) < 2 * self.radius).any(1).nonzero()[:, 0]
                if len(overlap) == 0:
                    break
                fresh[overlap] = self._draw_positions((len(overlap), 1), generator)
            else:
                raise UserError(
                    f"balls: no free place for ball {ball + 1} of {self.balls} with radius {self.radius} and init_std "
                    f"{self.init_std} px after {_PLACEMENTS} draws"
                )
            placed = torch.cat([placed, fresh], 1)
        return placed, velocity

    def _draw_positions(self, shape: tuple[int, int], generator: torch.Generator) -> Float[Tensor, "b k 2"]:
        offset = self.init_std * torch.randn(
            *shape, 2, dtype=torch.float64, device=generator.device, generator=generator
        )
        middle = self._middle(generator.device)
        if self.corners is None:
            margin = self.inset + self.radius + _GAP
            return (middle + offset).clamp(margin, self.extent - margin)
        # In a polygon the draw moves straight towards the middle until it has its margin.
        room = half_planes(self.corners, generator.device).shrunk(self.radius + _GAP)
        outwards = (offset @ room.normals.mT).clamp(min=1e-300)
        return middle + offset * (room.clearance(middle) / outwards).amin(-1, keepdim=True).clamp(max=1)


def bouncing_ball() -> BouncingBall:
    """Return the box of the Kalman VAE paper (Fraccaro et al. 2017, section 5.1)."""
    return BouncingBall()


def bouncing_ball_gravity() -> BouncingBall:
    """Return the paper's box with gravity, which pulls up, as in the authors' data."""
    return BouncingBall(gravity=(0.0, -5.0), init_std=8.0, speed=(5.0, 10.0))


def bouncing_ball_hexagon() -> BouncingBall:
    """Return the paper's irregular polygon: six walls, slow spread of first positions."""
    corners = ((3.0, 1.0), (1.0, 15.0), (8.0, 30.0), (25.0, 30.0), (30.0, 8.0), (15.0, 1.0))
    return BouncingBall(corners=corners, init_std=2.5)


def bouncing_ball_octagon() -> BouncingBall:
    """Return the octagon of the authors' code, which the paper does not use."""
    corners = ((1.0, 8.0), (1.0, 22.0), (8.0, 30.0), (22.0, 30.0), (30.0, 22.0), (30.0, 8.0), (22.0, 1.0), (8.0, 1.0))
    return BouncingBall(corners=corners, init_std=2.5)
