"""A double pendulum whose regimes are how its lower arm turns."""

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dynarium.systems.checks import check_choice, check_not_negative, check_positive, check_range
from dynarium.systems.double_pendulum import DoublePendulum
from dynarium.systems.draws import shared_factors, uniform_rows
from dynarium.systems.integrators import integrate_arrays
from dynarium.systems.views import draw_points
from dynarium.types import Trajectory

_PUBLISHED_START = (120.0, -10.0)  # degrees, at rest
_DISCS_PER_ARM = 10
_TOLERANCE = 1e-8  # of the integration; files keep 7 digits


@dataclass(frozen=True, kw_only=True)
class SwitchingPendulum:
    """A frictionless double pendulum seen through a linear map, like the set of Farnoosh et al. 2021 (section 4.3).

    The published file is lost. What is known of it is kept: two bobs of 1 kg on rods of 1 m, g = 9.8, 0.05 s between
    steps, released at rest from (120, -10) degrees, sequences of 200 steps, the positions of the bobs as latents, 8
    sensors and 3 modes. Its factors and the rule of its modes are not known: the factors here are uniform in (-1, 1) from
    a seed, and the mode says how the lower arm turns::

        mode 0: |omega_2| <= threshold, the lower arm hangs back or swings slowly
        mode 1: omega_2 > threshold, it whirls counter-clockwise
        mode 2: omega_2 < -threshold, it whirls clockwise

    where omega_2 is its angular velocity in space: a regime that can be read off the motion of the bobs and that the
    exchange of energy between the arms decides.

    ``state`` is (x1, y1, x2, y2) in m, the pivot being (0, 0) and y growing upwards; ``observation`` is
    ``state @ factors`` plus noise; ``derivative`` is the velocity of the bobs; ``angle`` holds (theta_1, theta_2, omega_1,
    omega_2), angles measured from hanging down, counter-clockwise, in rad.

    Attributes:
        steps: Default number of time steps of a sequence.
        dt: Time between two steps in s.
        mass: Masses of the upper and the lower bob in kg.
        length: Lengths of the upper and the lower rod in m.
        gravity: Acceleration of gravity in m/s^2.
        start: ``spread``: at rest from angles drawn from ``angle_1`` and ``angle_2``, ``burn_in`` steps earlier;
            ``published``: (120, -10) degrees at rest, all sequences alike.
        angle_1: Range of the first angle of the upper arm in degrees, uniform.
        angle_2: Range of the first angle of the lower arm in degrees, uniform.
        burn_in: Steps before the first state; without effect on the published start.
        threshold: Angular velocity of the lower arm in rad/s above which it whirls.
        observations: Dimension of the observation.
        factors_seed: Seed of the factors; all sequences share them.
        observation_noise_std: Standard deviation of the noise of the observation.
        frames: Draw the pendulum, in frames as well as in the observation.
        side: Height and width of a frame in pixels.
    """

    steps: int = 200
    dt: float = 0.05
    mass: tuple[float, float] = (1.0, 1.0)
    length: tuple[float, float] = (1.0, 1.0)
    gravity: float = 9.8
    start: Literal["spread", "published"] = "spread"
    angle_1: tuple[float, float] = (90.0, 150.0)
    angle_2: tuple[float, float] = (-60.0, 60.0)
    burn_in: int = 20
    threshold: float = 2.5
    observations: int = 8
    factors_seed: int = 0
    observation_noise_std: float = 0.0
    frames: bool = False
    side: int = 32

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, such as a mass of zero.
        """
        check_positive(steps=self.steps, dt=self.dt, observations=self.observations, side=self.side)
        for name in ("mass", "length"):
            upper, lower = getattr(self, name)
            check_positive(**{f"{name}[0]": upper, f"{name}[1]": lower})
        check_positive(gravity=self.gravity, threshold=self.threshold)
        check_range("angle_1", self.angle_1)
        check_range("angle_2", self.angle_2)
        check_not_negative(burn_in=self.burn_in, observation_noise_std=self.observation_noise_std)
        check_not_negative(factors_seed=self.factors_seed)
        check_choice("start", self.start, ("spread", "published"))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        return ("x1 [m]", "y1 [m]", "x2 [m]", "y2 [m]")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """No parameters: all sequences share the same physics."""
        return ()

    @property
    def factors(self) -> Float[Tensor, "4 p"]:
        """The map from state to observation."""
        return shared_factors(4, self.observations, self.factors_seed)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return an empty table of ``n`` rows."""
        return torch.zeros(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Release the pendulums and return ``steps`` states of each."""
        n = len(parameters)
        options = {"dtype": torch.float64, "device": generator.device}
        if self.start == "published":
            angles = _published(self, steps).to(generator.device).expand(n, steps, 4).contiguous()
        else:
            drawn = torch.deg2rad(uniform_rows((self.angle_1, self.angle_2), n, generator))
            angles = self._solve(drawn, self.burn_in, steps)
        state, velocity = self._positions(angles)
        noise = self.observation_noise_std * torch.randn(n, steps, self.observations, generator=generator, **options)
        return Trajectory(
            state=state,
            observation=state @ self.factors.to(generator.device) + noise,
            mode=self.modes(angles),
            extra={"derivative": velocity, "angle": angles},
        )

    def modes(self, angles: Float[Tensor, "b t 4"]) -> Int[Tensor, "b t"]:
        """Return the regime of each state (theta_1, theta_2, omega_1, omega_2)."""
        turning = angles[..., 3]
        return (turning > self.threshold).long() + 2 * (turning < -self.threshold).long()

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"] | None:
        """Draw both arms as thin rods and the bobs as discs; the pivot is in the middle. ``None`` without ``frames``."""
        if not self.frames:
            return None
        upper, lower = trajectory.state[..., None, :2], trajectory.state[..., None, 2:]
        along = torch.linspace(0, 1, _DISCS_PER_ARM, dtype=upper.dtype, device=upper.device)[:, None]
        rods = torch.cat([along * upper, upper + along * (lower - upper)], 2)
        reach = 1.2 * sum(self.length)
        thin = draw_points(rods, (0.0, 0.0), reach, self.side, radius=0.7)
        return draw_points(torch.cat([upper, lower], 2), (0.0, 0.0), reach, self.side, background=thin[:, :, 0])

    def _solve(self, angle: Float[Tensor, "b 2"], skipped: int, steps: int) -> Float[Tensor, "b t 4"]:
        """Return the angles and rates ``skipped .. skipped + steps - 1`` steps after a release from ``angle``."""
        theta = np.tile([*self.mass, self.gravity, *self.length], (len(angle), 1))
        flow = DoublePendulum().flow(theta)
        times = self.dt * np.arange(skipped, skipped + steps, dtype=np.float64)
        if skipped:
            times = np.append(0.0, times)
        first = np.concatenate([angle.cpu().numpy(), np.zeros((len(angle), 2))], 1)
        solved = integrate_arrays(
            lambda x, _: np.concatenate(flow(x[:, :2], x[:, 2:]), 1), first, times, rtol=_TOLERANCE, atol=_TOLERANCE
        )
        q, p = torch.from_numpy(solved[:, -steps:]).to(angle.device).chunk(2, -1)
        rates, _ = DoublePendulum().flow(torch.from_numpy(theta[:, None]).to(q))(q, p)
        return torch.cat([q, rates], -1)

    def _positions(self, angles: Float[Tensor, "b t 4"]) -> tuple[Float[Tensor, "b t 4"], Float[Tensor, "b t 4"]]:
        """Return positions (x1, y1, x2, y2) of the bobs and their velocities."""
        theta, omega = angles.split(2, -1)
        rods = torch.tensor(self.length, dtype=angles.dtype, device=angles.device)
        sine, cosine = rods * theta.sin(), rods * theta.cos()
        position = torch.stack([sine, -cosine], -1).cumsum(-2)
        velocity = torch.stack([cosine * omega, sine * omega], -1).cumsum(-2)
        return position.flatten(-2), velocity.flatten(-2)


@functools.lru_cache(maxsize=1)
def _published(world: SwitchingPendulum, steps: int) -> Float[Tensor, "1 t 4"]:
    """Return the angles of the published start, kept because 20,000 steps of one sequence take several seconds."""
    first = torch.deg2rad(torch.tensor([_PUBLISHED_START], dtype=torch.float64))
    return world._solve(first, 0, steps)


def switching_pendulum() -> SwitchingPendulum:
    """Return a double pendulum with three regimes of its lower arm (like the lost set of Farnoosh et al. 2021)."""
    return SwitchingPendulum()


def switching_pendulum_pixels() -> SwitchingPendulum:
    """Return the double pendulum with three regimes as frames: arms and bobs."""
    return SwitchingPendulum(frames=True)


def switching_pendulum_original() -> SwitchingPendulum:
    """Return the published start of the double pendulum: one trajectory of 20,000 steps, of which 200 are a sequence."""
    return SwitchingPendulum(steps=20_000, start="published")
