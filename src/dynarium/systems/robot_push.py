"""A robot's finger that pushes things about on a table, seen from above: a small world for video prediction with actions."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.antialiased import Distance
from dynarium.rendering.painted import as_bytes, frames_at_once, paint, rounded_polygon
from dynarium.systems.checks import check_not_negative, check_positive, check_range
from dynarium.systems.draws import Range, integers, uniform
from dynarium.systems.rooms import shortened
from dynarium.systems.sliding import Bodies, pushed, turned
from dynarium.types import Trajectory

SIDE = 64.0
"""Height and width of the world in px, whatever the resolution of the frames."""
EDGE = 3.0
"""Width of the rim around the table in px."""

_KINDS = (  # corners in units of the size; repeated where there are fewer than four
    ((0.0, 0.0),) * 4,
    ((-1.1, 0.0), (1.1, 0.0), (1.1, 0.0), (1.1, 0.0)),
    ((-0.75, 0.65), (0.0, -0.85), (0.75, 0.65), (0.75, 0.65)),
    ((-0.62, -0.62), (0.62, -0.62), (0.62, 0.62), (-0.62, 0.62)),
)
_ROUNDING = (0.95, 0.5, 0.3, 0.25)
_REACH = (0.65, 0.8, 0.65, 0.65)  # about the radius of gyration of each, in units of its size
_COLOURS = (
    (0.84, 0.15, 0.16),
    (0.12, 0.38, 0.75),
    (0.16, 0.55, 0.25),
    (0.95, 0.73, 0.10),
    (0.55, 0.27, 0.68),
    (0.92, 0.46, 0.13),
    (0.10, 0.62, 0.64),
    (0.86, 0.40, 0.60),
)
_TABLE, _RIM, _METAL, _LIGHT = (0.80, 0.74, 0.65), (0.36, 0.29, 0.24), (0.17, 0.18, 0.20), (0.70, 0.72, 0.75)
_SETTLING = 12
_PLACEMENTS = 1000


@dataclass(frozen=True, kw_only=True)
class RobotPush:
    """A finger that moves by its action and pushes discs, bars, triangles and squares, which push each other.

    Motion is quasi-static: what is not pushed rests, and what is slides and turns as friction with the table has it (see
    ``systems/sliding.py``). A finger that jams a thing against the rim stops. ``action[:, t]`` is the displacement (dx, dy) of
    the finger in px from t to t+1, y down; a longer one than ``max_action`` is shortened. The state holds (x, y) of the
    finger and (x, y, angle) of each thing.

    Chance comes from the table, which holds a thing at another point of it at each step, so that a push turns it this way or
    that; and from the finger, which does not go exactly where it is sent. ``transition`` is the law without both.

    Actions are strokes of a few steps in one direction, most of them at one of the things.

    Attributes:
        steps: Default number of time steps of a sequence.
        objects: Number of things.
        sizes: Smallest and largest size of a thing in px: half of its width, about.
        max_action: Longest displacement of the finger in px.
        stroke: Steps of a stroke.
        aimed: Share of the strokes that are aimed at a thing.
        uneven: Standard deviation of the point at which the table holds a thing, in units of its size.
        slip: Standard deviation of the finger's displacement along each axis in px.
        finger: Radius of the finger in px.
        size: Height and width of a frame in pixels.
    """

    steps: int = 30
    objects: int = 3
    sizes: Range = (5.0, 7.5)
    max_action: float = 4.0
    stroke: int = 6
    aimed: float = 0.75
    uneven: float = 0.35
    slip: float = 0.15
    finger: float = 3.0
    size: int = 64

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(steps=self.steps, max_action=self.max_action, stroke=self.stroke, size=self.size)
        check_positive(objects=self.objects, finger=self.finger)
        check_not_negative(aimed=self.aimed, uneven=self.uneven, slip=self.slip)
        check_range("sizes", self.sizes, 1.0)
        if self.aimed > 1:
            raise UserError(f"aimed: expected a share in [0, 1], got {self.aimed}")
        if self.finger > SIDE / 4:
            raise UserError(f"finger: expected at most {SIDE / 4:g} px, got {self.finger:g}")

    @property
    def dt(self) -> float:
        """Time between two frames."""
        return 1.0

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        things = (name.format(i) for i in range(self.objects) for name in ("x{} [px]", "y{} [px]", "angle{} [rad]"))
        return ("x [px]", "y [px]", *things)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """What each thing is: 0 disc, 1 bar, 2 triangle, 3 square; its size and the number of its colour."""
        return tuple(name.format(i) for i in range(self.objects) for name in ("kind{}", "size{} [px]", "colour{}"))

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the things of ``n`` sequences; those of a sequence have different colours as long as there are any."""
        kind = integers(0, len(_KINDS) - 1, (n, self.objects), generator)
        size = uniform(self.sizes, (n, self.objects), generator)
        order = torch.rand(n, len(_COLOURS), device=generator.device, generator=generator).argsort(1)
        colour = order.repeat(1, -(-self.objects // len(_COLOURS)))[:, : self.objects]
        return torch.stack([kind, size, colour.double()], -1).flatten(1)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw where everything is, let the finger stroke, and return ``steps`` states."""
        n, k = len(parameters), self.objects
        free = (EDGE + self.finger, SIDE - EDGE - self.finger)
        things = self._places(parameters.unflatten(1, (k, 3))[..., 1], generator)
        angle = uniform((-math.pi, math.pi), (n, k), generator)
        bodies, finger = self._bodies(parameters, things, angle), uniform(free, (n, 2), generator)
        rest = torch.zeros_like(finger)
        bodies, finger = pushed(
            bodies, finger, rest, radius=self.finger, low=EDGE, high=SIDE - EDGE, pieces=_SETTLING, settle=True
        )
        states, actions = [_state(bodies, finger)], []
        heading = rest
        for t in range(steps):
            if t % self.stroke == 0:
                heading = self._heading(bodies, finger, generator)
            actions.append(heading)
            if t == steps - 1:
                break
            held = self.uneven * torch.randn(n, k, 2, dtype=torch.float64, device=generator.device, generator=generator)
            off = self.slip * torch.randn(n, 2, dtype=torch.float64, device=generator.device, generator=generator)
            size = parameters.unflatten(1, (k, 3))[..., 1, None]
            bodies, finger = self._stepped(replace(bodies, support=held * size), finger, heading + off)
            states.append(_state(bodies, finger))
        return Trajectory(state=torch.stack(states, 1), action=torch.stack(actions, 1), parameter=parameters)

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the state after one action, without chance."""
        things = state[:, 2:].unflatten(1, (self.objects, 3))
        bodies = self._bodies(parameters, things[..., :2], things[..., 2])
        return _state(*self._stepped(bodies, state[:, :2], shortened(action, self.max_action)))

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t.

        Raises:
            UserError: The trajectory does not say which things there are.
        """
        if trajectory.parameter is None:
            raise UserError("trajectory.parameter: expected what sample_parameters drew, the things; got none")
        b, t = trajectory.state.shape[:2]
        state = trajectory.state.flatten(0, 1)
        parameters = trajectory.parameter.repeat_interleave(t, 0)
        chunk = frames_at_once(self.size)
        parts = [self._drawn(*part) for part in zip(state.split(chunk), parameters.split(chunk), strict=True)]
        return torch.cat(parts).unflatten(0, (b, t))

    def _places(self, sizes: Float[Tensor, "b k"], generator: torch.Generator) -> Float[Tensor, "b k 2"]:
        """Draw places so far from each other that polygons do not cross; their rounded parts are moved apart later."""
        free = (EDGE + self.sizes[0], SIDE - EDGE - self.sizes[0])
        placed = uniform(free, (*sizes.shape, 2), generator)
        near = 1.15 * (sizes[:, :, None] + sizes[:, None]) - torch.eye(self.objects, device=sizes.device) * SIDE
        for _ in range(_PLACEMENTS):
            crowded = ((placed[:, :, None] - placed[:, None]).norm(dim=-1) < near).flatten(1).any(1).nonzero()[:, 0]
            if len(crowded) == 0:
                return placed
            placed[crowded] = uniform(free, (len(crowded), self.objects, 2), generator)
        raise UserError(f"objects: no free places for {self.objects} things after {_PLACEMENTS} draws; take fewer")

    def _stepped(
        self, bodies: Bodies, finger: Float[Tensor, "b 2"], step: Float[Tensor, "b 2"]
    ) -> tuple[Bodies, Float[Tensor, "b 2"]]:
        pieces = math.ceil(self.max_action)
        return pushed(bodies, finger, step, radius=self.finger, low=EDGE, high=SIDE - EDGE, pieces=pieces)

    def _heading(
        self, bodies: Bodies, finger: Float[Tensor, "b 2"], generator: torch.Generator
    ) -> Float[Tensor, "b 2"]:
        """Draw the displacement of a stroke: towards a thing, give or take a bit of its width, or anywhere."""
        n = len(finger)
        chosen = integers(0, self.objects - 1, (n,), generator).long()
        near = bodies.position[torch.arange(n, device=finger.device), chosen]
        near = near + 3.0 * torch.randn(n, 2, dtype=torch.float64, device=generator.device, generator=generator)
        anywhere = uniform((EDGE, SIDE - EDGE), (n, 2), generator)
        share, length = uniform((0.0, 1.0), (n,), generator), uniform((0.3, 1.0), (n,), generator)
        towards = torch.where((share < self.aimed)[:, None], near, anywhere) - finger
        return towards / towards.norm(dim=-1, keepdim=True).clamp(min=1e-9) * (self.max_action * length)[:, None]

    def _bodies(
        self, parameters: Float[Tensor, "b q"], position: Float[Tensor, "b k 2"], angle: Float[Tensor, "b k"]
    ) -> Bodies:
        kind, size, _ = parameters.unflatten(1, (self.objects, 3)).unbind(-1)
        tables = (torch.tensor(x, dtype=size.dtype, device=size.device) for x in (_KINDS, _ROUNDING, _REACH))
        corners, rounding, reach = (table[kind.long()] for table in tables)
        return Bodies(
            position=position,
            angle=angle,
            outline=corners * size[..., None, None],
            rounding=rounding * size,
            reach=reach * size,
            support=torch.zeros_like(position),
        )

    def _drawn(self, state: Float[Tensor, "n s"], parameters: Float[Tensor, "n q"]) -> UInt8[Tensor, "n c h w"]:
        """Paint the things, anew only where they are not as in the frame before, and the finger."""
        fresh = torch.ones(len(state), dtype=torch.bool, device=state.device)
        fresh[1:] = ((state[1:, 2:] != state[:-1, 2:]).any(1)) | (parameters[1:] != parameters[:-1]).any(1)
        canvas = self._scene(state[fresh, 2:].unflatten(1, (self.objects, 3)), parameters[fresh])[fresh.cumsum(0) - 1]
        scale = self.size / SIDE
        for radius, rgb in ((self.finger, _METAL), (0.5 * self.finger, _LIGHT)):
            colour = torch.tensor(rgb, device=state.device).expand(len(state), -1)
            paint(canvas, (state[:, :2] * scale).float(), radius * scale, _disc(radius * scale), colour)
        return as_bytes(canvas)

    def _scene(self, things: Float[Tensor, "m k 3"], parameters: Float[Tensor, "m q"]) -> Float[Tensor, "m c h w"]:
        """Paint the table, its rim and the things, each with a mark that shows how it is turned."""
        scale, m = self.size / SIDE, len(things)
        table, rim = (torch.tensor(rgb, device=things.device)[:, None, None] for rgb in (_TABLE, _RIM))
        pixel = (torch.arange(self.size, device=things.device) + 0.5 - self.size / 2).abs()
        beyond = torch.maximum(pixel[:, None], pixel) - (SIDE / 2 - EDGE) * scale
        canvas = (table + (0.5 + beyond).clamp(0, 1) * (rim - table)).expand(m, -1, -1, -1).contiguous()
        bodies = self._bodies(parameters, things[..., :2], things[..., 2])
        palette = torch.tensor(_COLOURS, device=things.device)
        shades = palette[parameters.unflatten(1, (self.objects, 3))[..., 2].long()]
        corners = turned(bodies.outline, bodies.angle[..., None])
        marks = turned(bodies.reach.new_tensor([0.62, 0.0]).expand(m, self.objects, 2), bodies.angle)
        spots = bodies.position + marks * bodies.reach[..., None]
        for k in range(self.objects):
            middle, spot = ((places[:, k] * scale).float() for places in (bodies.position, spots))
            shape = rounded_polygon((corners[:, k] * scale).float(), (bodies.rounding[:, k] * scale).float())
            shade = shades[:, k]
            paint(canvas, middle, 1.65 * self.sizes[1] * scale, shape, shade, 0.45 * shade, scale)
            paint(canvas, spot, 2 * scale, _disc(1.3 * scale), 0.4 * shade + 0.6)
        return canvas


def _disc(radius: float) -> Distance:
    return lambda x, y: (x.square() + y.square()).sqrt() - radius


def _state(bodies: Bodies, finger: Float[Tensor, "b 2"]) -> Float[Tensor, "b n"]:
    things = torch.cat([bodies.position, bodies.angle[..., None]], -1)
    return torch.cat([finger, things.flatten(1)], 1)


def robot_push() -> RobotPush:
    """Return a finger that pushes three things about on a table; chance turns them; actions are its displacements."""
    return RobotPush()
