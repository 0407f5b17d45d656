"""The bouncing ball: discs that reflect elastically off the walls of a box."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering.discs import hard_discs
from dynarium.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class BouncingBall:
    """One disc in a box, without gravity (Fraccaro et al. 2017, section 5.1, after Sutskever et al. 2008).

    Attributes:
        steps: Default number of time steps of a sequence.
        dt: Time between two frames.
        side: Height and width of a frame in pixels.
        radius: Radius of the disc in px.
        inset: Distance of the walls from the edge of the frame in px.
        init_std: Standard deviation of the first position around the middle of the frame, in px.
        angle: Range of the first direction in degrees; 90 is down.
        speed: Range of the first speed in px per unit time.
        walls_visible: Draw the walls white, one pixel thick.
    """

    steps: int = 20
    dt: float = 0.2
    side: int = 32
    radius: float = 3.0
    inset: float = 2.0
    init_std: float = 10.0
    angle: tuple[float, float] = (0.0, 360.0)
    speed: tuple[float, float] = (10.0, 15.0)
    walls_visible: bool = True

    def __post_init__(self) -> None:
        if self.dt <= 0:
            raise UserError(f"dt: expected a positive time step, got {self.dt}")
        if self.side - 2 * (self.inset + self.radius + 1) <= 0:
            raise UserError(f"radius: a disc of radius {self.radius} has no room in a box of side {self.side}")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        return ("x [px]", "y [px]", "vx [px/time]", "vy [px/time]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """No parameters: all sequences share the same physics."""
        return ()

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return an empty table of ``n`` rows."""
        return torch.zeros(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and reflect them exactly: each coordinate is a triangle wave of time."""
        n = len(parameters)
        options = {"dtype": torch.float64, "device": generator.device, "generator": generator}
        u = torch.rand(n, 2, **options)
        angle = torch.deg2rad(self.angle[0] + (self.angle[1] - self.angle[0]) * u[:, 0])
        speed = self.speed[0] + (self.speed[1] - self.speed[0]) * u[:, 1]
        low, high = self.inset + self.radius, self.side - self.inset - self.radius
        x = (self.side / 2 + self.init_std * torch.randn(n, 2, **options)).clamp(low + 1, high - 1)
        v = speed[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
        time = self.dt * torch.arange(steps, dtype=torch.float64, device=generator.device)
        span = high - low
        phase = (x[:, None] - low + v[:, None] * time[:, None]) % (2 * span)
        position = low + span - (phase - span).abs()
        velocity = torch.where(phase < span, v[:, None], -v[:, None])
        return Trajectory(state=torch.cat([position, velocity], -1))

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames, hard-edged; frame t shows state t."""
        frames = hard_discs(trajectory.state[..., None, :2], self.radius, self.side)
        if self.walls_visible:
            low, high = math.floor(self.inset), math.floor(self.side - self.inset)
            frames[..., low, low : high + 1] = 255
            frames[..., high, low : high + 1] = 255
            frames[..., low : high + 1, low] = 255
            frames[..., low : high + 1, high] = 255
        return frames[:, :, None]


def bouncing_ball() -> BouncingBall:
    """Return the box of the Kalman VAE paper (Fraccaro et al. 2017)."""
    return BouncingBall()
