"""The Lorenz attractor as a system that switches between two lobes."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.ssm.nonlinear import NonlinearGaussian
from dynarium.systems.checks import check_choice, check_not_negative, check_positive
from dynarium.systems.draws import shared_factors, uniform_rows
from dynarium.systems.integrators import integrate
from dynarium.systems.views import draw_points
from dynarium.types import Trajectory

_PUBLISHED_START = (0.0, 1.0, 1.05)
_BOX = ((-15.0, 15.0), (-15.0, 15.0), (10.0, 40.0))  # x, y, z from where the attractor is soon reached
_MEAN = (0.0, 0.0, 25.0)  # of the attractor of the published numbers, and its covariance: measured on 200 sequences
_COVARIANCE = ((68.0, 67.0, 0.0), (67.0, 84.0, 0.0), (0.0, 0.0, 59.0))
_MIDDLE, _REACH = (0.0, 25.0), 28.0  # of the frames, in x and z


@dataclass(frozen=True, kw_only=True)
class Lorenz:
    """The Lorenz system, its two lobes as modes, seen through a linear map (Farnoosh et al. 2021, section 4.2).

    ::

        dx/dt = sigma (y - x)
        dy/dt = rho x - y - x z
        dz/dt = x y - beta z

    The published set is Euler's recursion of these equations with ``dt=0.01``, from (0, 1, 1.05) on, that state itself
    left out, and its observation is ``state @ factors``, noiseless; :func:`lorenz_original` makes it but for its factors,
    which were drawn at random. By default every sequence starts elsewhere on the attractor.

    ``observation`` holds the sensors, ``mode`` is 1 where x > 0 and else 0 (a lobe is left every 150 steps or so),
    ``state`` is (x, y, z) and ``derivative`` the right-hand side.

    Attributes:
        steps: Default number of time steps of a sequence.
        dt: Time between two steps.
        sigma: Prandtl number.
        rho: Relative Rayleigh number.
        beta: Geometry of the layer.
        start: ``attractor``: a draw from a box, ``burn_in`` steps earlier; ``published``: (0, 1, 1.05), all sequences alike.
        burn_in: Steps that bring a draw to the attractor; without effect on the published start.
        method: ``euler`` as published, or ``adaptive`` for the solution of the equations.
        observations: Dimension of the observation.
        factors_seed: Seed of the factors, uniform in (-1, 1); all sequences share them.
        observation_noise: Standard deviation of the noise of each sensor, relative to that sensor's standard deviation over
            the sequence; later work adds 0.001.
        frames: Draw (x, z) as a disc, in frames as well as in the observation.
        side: Height and width of a frame in pixels.
    """

    steps: int = 500
    dt: float = 0.01
    sigma: float = 10.0
    rho: float = 28.0
    beta: float = 2.667
    start: Literal["attractor", "published"] = "attractor"
    burn_in: int = 300
    method: Literal["euler", "adaptive"] = "euler"
    observations: int = 10
    factors_seed: int = 0
    observation_noise: float = 0.0
    frames: bool = False
    side: int = 32

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or a choice that does not exist.
        """
        check_positive(steps=self.steps, dt=self.dt, observations=self.observations, side=self.side)
        check_positive(sigma=self.sigma, rho=self.rho, beta=self.beta)
        check_not_negative(
            observation_noise=self.observation_noise, burn_in=self.burn_in, factors_seed=self.factors_seed
        )
        check_choice("start", self.start, ("attractor", "published"))
        check_choice("method", self.method, ("euler", "adaptive"))

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each state dimension."""
        return ("x", "y", "z")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """No parameters: all sequences share the same physics."""
        return ()

    @property
    def factors(self) -> Float[Tensor, "3 p"]:
        """The map from state to observation."""
        return shared_factors(3, self.observations, self.factors_seed)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return an empty table of ``n`` rows."""
        return torch.zeros(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and return ``steps`` states, the first of them one step after the initial one."""
        n = len(parameters)
        options = {"dtype": torch.float64, "device": generator.device}
        if self.start == "published":
            state = self._solve(torch.tensor([_PUBLISHED_START], **options), 1, steps).expand(n, steps, 3).contiguous()
        else:
            state = self._solve(uniform_rows(_BOX, n, generator), self.burn_in + 1, steps)
        observation = state @ self.factors.to(generator.device)
        if self.observation_noise:
            std = self.observation_noise * observation.std(1, correction=0, keepdim=True)
            observation = observation + std * torch.randn(observation.shape, generator=generator, **options)
        mode = (state[..., 0] > 0).long()
        return Trajectory(state=state, observation=observation, mode=mode, extra={"derivative": self._rhs(state)})

    def state_space(self, parameters: Float[Tensor, "b q"]) -> NonlinearGaussian:
        """Return the law of the observations; the noise of a sensor is that of one whose deviation is the attractor's."""
        options = {"dtype": torch.float64, "device": parameters.device}
        mean, cov = torch.tensor(_MEAN, **options), torch.tensor(_COVARIANCE, **options)
        factors = self.factors.to(**options)
        noise = self.observation_noise**2 * (factors.mT @ cov @ factors).diagonal().diag()
        if self.start == "published":
            mean, cov = self._solve(torch.tensor([_PUBLISHED_START], **options), 1, 1)[0, 0], 1e-12 * cov

        def transition(z: Tensor, u: Tensor | None, t: int) -> Tensor:
            return self._solve(z.flatten(0, -2), 1, 1)[:, 0].view(z.shape)

        return NonlinearGaussian(
            transition=transition,
            observation=lambda z: z @ factors,
            Q=torch.zeros(3, 3, **options),
            R=noise,
            m0=mean,
            P0=cov,
        )

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"] | None:
        """Draw (x, z), z upwards: the two lobes are left and right; ``None`` without ``frames``."""
        if not self.frames:
            return None
        return draw_points(trajectory.state[:, :, None, ::2], _MIDDLE, _REACH, self.side)

    def _rhs(self, state: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3"]:
        x, y, z = state.unbind(-1)
        # In the order of the published recursion, which matters after some thousand steps of chaos.
        return torch.stack([self.sigma * (y - x), self.rho * x - y - x * z, x * y - self.beta * z], -1)

    def _solve(self, state: Float[Tensor, "b 3"], skipped: int, steps: int) -> Float[Tensor, "b t 3"]:
        """Return the states ``skipped .. skipped + steps - 1`` steps after ``state``."""
        if self.method == "adaptive":
            times = self.dt * torch.arange(skipped - 1, skipped + steps, dtype=state.dtype, device=state.device)
            times[0] = 0.0  # nothing before the burn-in's end is kept
            return integrate(lambda x, t: self._rhs(x), state, times)[:, 1:]
        states = []
        for step in range(1, skipped + steps):
            state = state + self._rhs(state) * self.dt
            if step >= skipped:
                states.append(state)
        return torch.stack(states, 1)


def lorenz() -> Lorenz:
    """Return the Lorenz attractor, whose two lobes are its modes (Farnoosh et al. 2021)."""
    return Lorenz()


def lorenz_pixels() -> Lorenz:
    """Return the Lorenz attractor as frames: a disc at (x, z)."""
    return Lorenz(frames=True)


def lorenz_original() -> Lorenz:
    """Return the Lorenz trajectory as published: one sequence of 10,000 Euler steps from (0, 1, 1.05)."""
    return Lorenz(steps=10_000, start="published")
