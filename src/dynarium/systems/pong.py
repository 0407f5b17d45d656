"""Pong: a ball between a floor, a roof and two paddles that chase it."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering import antialiased_capsules, antialiased_discs, antialiased_walls, hard_bars, hard_discs
from dynarium.systems.billiards import MAX_COLLISIONS, time_to_wall
from dynarium.systems.checks import check_choice, check_not_negative, check_positive, check_range
from dynarium.systems.draws import velocities
from dynarium.systems.walls import HalfPlanes
from dynarium.types import Trajectory

_GAP = 1.0  # px between the ball and every obstacle when a sequence starts


@dataclass(frozen=True, kw_only=True)
class Pong:
    """Pong with automatic paddles (Fraccaro et al. 2017, section 5.1), a field of ``extent`` x ``extent`` px, y down.

    The state is (x, y, vx, vy) of the ball and the height of the left and of the right paddle. Within a step, each
    paddle first moves ``paddle_speed`` px towards the ball if it is more than ``dead_zone`` px away from it, but stays
    between floor and roof; then the ball flies for ``dt`` with the paddles at rest, its collisions being exact. A
    collision keeps ``elasticity * wall_elasticity`` of the speed along the normal, so the ball slows down.

    A paddle is a capsule: a segment with a rounded rim, off whose ends the ball can glance. A ball that a paddle misses
    bounces off the edge of the field behind it, with the same elasticity: the ball never leaves the frame. With the
    default paddles that happens seldom, because a paddle is as fast as the ball. Both start at the middle.

    Attributes:
        steps: Default number of time steps of a sequence.
        dt: Time between two frames.
        radius: Radius of the ball in px.
        extent: Side of the field in px.
        floor: y of the upper wall in px (the floor, since the authors draw y downwards).
        roof: y of the lower wall in px.
        paddle_x: x of the two paddles' segments in px.
        half_length: Half the length of a paddle's segment in px.
        paddle_radius: Radius of a paddle's rim in px.
        paddle_speed: Motion of a paddle in px per step.
        dead_zone: Distance in px below which a paddle rests.
        elasticity: Elasticity of the ball.
        wall_elasticity: Elasticity of walls and paddles; that of a contact is the product.
        init_std: Standard deviation of the first position around the middle in px, clipped to keep 1 px of distance.
        angle: Range of the direction of the first velocity in degrees, uniform; 0 is right, 90 is down.
        speed: Range of the first speed in px per unit of time, uniform.
        side: Height and width of a frame in pixels.
        rendering: ``hard`` for whole pixels, ``antialiased`` for coverage.
    """

    steps: int = 20
    dt: float = 0.2
    radius: float = 3.0
    extent: float = 32.0
    floor: float = 1.0
    roof: float = 32.0
    paddle_x: tuple[float, float] = (0.0, 30.0)
    half_length: float = 3.0
    paddle_radius: float = 1.0
    paddle_speed: float = 2.0
    dead_zone: float = 1.0
    elasticity: float = 0.9
    wall_elasticity: float = 0.99
    init_std: float = 3.0
    angle: tuple[float, float] = (0.0, 360.0)
    speed: tuple[float, float] = (10.0, 10.0)
    side: int = 32
    rendering: Literal["hard", "antialiased"] = "hard"

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or no room for the ball or the paddles.
        """
        check_positive(steps=self.steps, dt=self.dt, radius=self.radius, extent=self.extent, side=self.side)
        check_positive(half_length=self.half_length, paddle_radius=self.paddle_radius)
        check_range("angle", self.angle)
        check_range("speed", self.speed, low=0.0)
        check_range("paddle_x", self.paddle_x)
        check_not_negative(paddle_speed=self.paddle_speed, dead_zone=self.dead_zone, init_std=self.init_std)
        check_choice("rendering", self.rendering, ("hard", "antialiased"))
        for name in ("elasticity", "wall_elasticity"):
            if not 0 < getattr(self, name) <= 1:
                raise UserError(f"{name}: expected a number in (0, 1], got {getattr(self, name)}")
        if not 0 <= self.floor < self.roof <= self.extent:
            raise UserError(f"floor, roof: expected 0 <= floor < roof <= {self.extent}, got {self.floor}, {self.roof}")
        low, high = self._start_region()
        if bool((low > high).any()):
            raise UserError(f"radius: a ball of radius {self.radius} px has no room between paddles, floor and roof")
        if 2 * self.half_length > self.roof - self.floor:
            raise UserError(f"half_length: a paddle of {2 * self.half_length} px is longer than the field is high")
        if min(self.paddle_x) < 0 or max(self.paddle_x) > self.extent:
            raise UserError(f"paddle_x: expected paddles within 0 .. {self.extent} px, got {self.paddle_x}")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        return ("x [px]", "y [px]", "vx [px/time]", "vy [px/time]", "left paddle y [px]", "right paddle y [px]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """No parameters: all sequences share the same physics."""
        return ()

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return an empty table of ``n`` rows."""
        return torch.zeros(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and play ``steps`` frames."""
        n, device = len(parameters), generator.device
        v = velocities(self.angle, self.speed, (n,), generator)
        low, high = (bound.to(device) for bound in self._start_region())
        x = self.extent / 2 + self.init_std * torch.randn(n, 2, dtype=torch.float64, device=device, generator=generator)
        x = x.clamp(low, high)
        paddles = torch.full((n, 2), (self.floor + self.roof) / 2, dtype=torch.float64, device=device)
        states = [torch.cat([x, v, paddles], -1)]
        for _ in range(steps - 1):
            lag = x[:, 1:] - paddles
            paddles = paddles + self.paddle_speed * lag.sign() * (lag.abs() > self.dead_zone)
            paddles = paddles.clamp(self.floor + self.half_length, self.roof - self.half_length)
            x, v = self._fly(x, v, paddles)
            states.append(torch.cat([x, v, paddles], -1))
        return Trajectory(state=torch.stack(states, 1))

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw ball, paddles, floor and roof white on black; frame t shows state t."""
        scale = self.side / self.extent
        state = trajectory.state * scale
        ball, heights = state[..., None, :2], state[..., 4:]
        places = torch.tensor(self.paddle_x, dtype=state.dtype, device=state.device) * scale
        paddles = torch.stack([places.expand_as(heights), heights], -1)
        if self.rendering == "hard":
            edges = torch.tensor([int(self.floor * scale), int(self.roof * scale)], device=state.device)
            first, last = torch.zeros_like(edges), torch.full_like(edges, self.side - 1)
            walls = hard_bars(torch.stack([first, edges], -1), torch.stack([last, edges], -1), self.side)
            bars = hard_bars(*self._pixels(paddles, scale), self.side)
            return hard_discs(ball, self.radius * scale, self.side, walls).maximum(bars)[:, :, None]
        walls = self._walls(state.device, 0.0)
        background = antialiased_walls(walls.normals[:2], walls.offsets[:2] * scale, self.side)
        axis = (0.0, self.half_length * scale)
        frames = antialiased_capsules(paddles, axis, self.paddle_radius * scale, self.side, background)
        return antialiased_discs(ball, self.radius * scale, self.side, frames)[:, :, None]

    def _pixels(
        self, paddles: Float[Tensor, "b t 2 2"], scale: float
    ) -> tuple[Int[Tensor, "b t 2 2"], Int[Tensor, "b t 2 2"]]:
        """Return the first and the last pixel (x, y) of each paddle, which is ``2 paddle_radius`` columns wide."""
        reach = int(self.half_length * scale)
        wide = max(round(2 * self.paddle_radius * scale), 1)
        corner = paddles.to(torch.int64)
        first = torch.tensor([1 - wide + wide // 2, -reach], device=paddles.device)
        last = torch.tensor([wide // 2, reach], device=paddles.device)
        return corner + first, corner + last

    def _start_region(self) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
        reach = self.radius + _GAP
        beside = reach + self.paddle_radius
        low = torch.tensor([self.paddle_x[0] + beside, self.floor + reach], dtype=torch.float64)
        high = torch.tensor([self.paddle_x[1] - beside, self.roof - reach], dtype=torch.float64)
        return low, high

    def _walls(self, device: torch.device, radius: float) -> HalfPlanes:
        """Return floor, roof and the two edges of the field, where the centre of a disc of ``radius`` may be."""
        normals = [[0.0, -1.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 0.0]]
        offsets = [-self.floor, self.roof, 0.0, self.extent]
        return HalfPlanes(
            normals=torch.tensor(normals, dtype=torch.float64, device=device),
            offsets=torch.tensor(offsets, dtype=torch.float64, device=device),
        ).shrunk(radius)

    def _fly(
        self, x: Float[Tensor, "b 2"], v: Float[Tensor, "b 2"], paddles: Float[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b 2"], Float[Tensor, "b 2"]]:
        """Return position and velocity after ``dt`` of straight flight and inelastic reflections."""
        walls = self._walls(x.device, self.radius)
        still = torch.zeros((), dtype=x.dtype, device=x.device)
        places = torch.tensor(self.paddle_x, dtype=x.dtype, device=x.device)
        rim = self.radius + self.paddle_radius
        kept = 1 + self.elasticity * self.wall_elasticity
        x, v = x.clone(), v.clone()
        left = torch.full((len(x),), self.dt, dtype=x.dtype, device=x.device)
        active = torch.arange(len(x), device=x.device)
        for _ in range(MAX_COLLISIONS):
            at, along, middle = x[active], v[active], torch.stack([places.expand(len(active), 2), paddles[active]], -1)
            to_wall = time_to_wall(walls.clearance(at), along @ walls.normals.mT, still)
            to_paddle = torch.stack([self._time_to_paddle(at, along, middle[:, i], rim) for i in (0, 1)], 1)
            wait, which = torch.cat([to_wall, to_paddle], 1).min(1)
            step = torch.minimum(wait, left[active])
            x[active] = at + along * step[:, None]
            hits = wait <= left[active]
            left[active] -= step
            if not hits.any():
                return x, v
            active, along, which, middle = active[hits], along[hits], which[hits], middle[hits]
            paddle = middle[torch.arange(len(active), device=x.device), (which - 4).clamp(min=0)]
            from_paddle = self._nearest_offset(x[active], paddle)
            inwards = from_paddle / from_paddle.norm(dim=-1, keepdim=True).clamp(min=1e-12)
            normal = torch.where((which < 4)[:, None], -walls.normals[which.clamp(max=3)], inwards)
            v[active] = along - kept * (along * normal).sum(-1, keepdim=True) * normal
        raise UserError(f"dt: the ball collides more than {MAX_COLLISIONS} times between two frames; use a smaller dt")

    def _nearest_offset(self, x: Float[Tensor, "b 2"], paddle: Float[Tensor, "b 2"]) -> Float[Tensor, "b 2"]:
        """Return the vector to ``x`` from the closest point of the paddle's segment."""
        offset = x - paddle
        closest = offset[:, 1].clamp(-self.half_length, self.half_length)
        return torch.stack([offset[:, 0], offset[:, 1] - closest], -1)

    def _time_to_paddle(
        self, x: Float[Tensor, "b 2"], v: Float[Tensor, "b 2"], paddle: Float[Tensor, "b 2"], rim: float
    ) -> Float[Tensor, " b"]:
        """Return when the ball's centre meets the capsule of radius ``rim`` around the paddle's segment."""
        nearest = self._nearest_offset(x, paddle)
        offset = x - paddle
        sideways = -offset[:, 0].sign() * v[:, 0]
        face = time_to_wall(offset[:, 0].abs() - rim, sideways, torch.zeros((), dtype=x.dtype, device=x.device))
        height = offset[:, 1] + v[:, 1] * torch.where(face.isfinite(), face, 0)
        times = [torch.where(height.abs() <= self.half_length, face, torch.inf)]
        for end in (-self.half_length, self.half_length):
            from_end = torch.stack([offset[:, 0], offset[:, 1] - end], -1)
            closing = -(from_end * v).sum(-1)
            gap = from_end.square().sum(-1) - rim**2
            discriminant = closing.square() - v.square().sum(-1) * gap
            meets = (closing > 0) & (gap >= 0) & (discriminant >= 0)
            times.append(torch.where(meets, gap / (closing + discriminant.clamp(min=0).sqrt()), torch.inf))
        outside = torch.stack(times).amin(0)
        touching = nearest.norm(dim=-1) <= rim * (1 + 1e-12)
        approaching = (nearest * v).sum(-1) < 0
        return torch.where(touching, torch.where(approaching, 0.0, torch.inf), outside)
