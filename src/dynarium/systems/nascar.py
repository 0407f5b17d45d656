"""The NASCAR track: a recurrent switching linear dynamical system that drives in laps."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dynarium.ssm.nonlinear import NonlinearGaussian
from dynarium.systems.checks import check_not_negative, check_positive
from dynarium.systems.views import draw_points
from dynarium.types import Trajectory

_DRIFT = ((0.1, 0.0), (-0.35, 0.0))  # per step, on the two straights
_TURNS = (
    (math.pi / 24, (2.0, 0.0)),
    (math.pi / 48, (-2.0, 0.0)),
)  # clockwise angle per step and centre of the two bends
_START, _START_VARIANCE = (0.0, 1.0), 1e-3
_STEEPNESS = 100.0
_BORDERS = ((1.0, 0.0, -2.0), (-1.0, 0.0, -2.0), (0.0, 1.0, 0.0))  # (w1, w2, r): x1 > 2, x1 < -2, x2 > 0
# Mean of the stick-breaking logits under a uniform distribution of modes, as the published code integrates it.
_LOGIT_MEAN = (-1.4985, -0.9990, 0.0)


@dataclass(frozen=True, kw_only=True)
class Nascar:
    """A point on a race track of two straights and two bends, driven clockwise (Linderman et al. 2017, section 5.1).

    The state x follows the affine map of the mode before, and the next mode depends on where x was (recurrence)::

        x_t = A[z_(t-1)] x_(t-1) + b[z_(t-1)] + N(0, noise_std^2)
        z_t ~ stick-breaking(100 (W x_(t-1) + r) + mu)
        y_t = C x_t + N(0, observation_noise_std^2)

    Mode 0 turns right around (2, 0) where x1 > 2, mode 1 around (-2, 0) where x1 < -2, mode 2 drives right where x2 > 0
    and mode 3 drives left, three and a half times as fast. A lap takes about 120 steps. Every bend is left a little
    further out than it was entered, so the track widens slowly: |x1| stays near 4 within 250 steps and below 7
    within the published 10,000.

    ``observation`` holds y, ``mode`` z, ``state`` x.

    Attributes:
        steps: Default number of time steps of a sequence: two laps.
        dt: Time between two steps; the dynamics are defined per step.
        noise_std: Standard deviation of the noise of the state.
        observations: Dimension of the observation.
        observation_noise_std: Standard deviation of the noise of the observation.
        factors_seed: Seed of the observation matrix C, whose entries are standard normal; all sequences share it.
        frames: Draw the state as a disc, in frames as well as in the observation.
        side: Height and width of a frame in pixels.
        reach: Largest |x1| and |x2| that a frame shows.
    """

    steps: int = 250
    dt: float = 1.0
    noise_std: float = 0.01
    observations: int = 10
    observation_noise_std: float = math.sqrt(1e-5)
    factors_seed: int = 0
    frames: bool = False
    side: int = 32
    reach: float = 5.0

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(steps=self.steps, dt=self.dt, observations=self.observations, side=self.side, reach=self.reach)
        check_not_negative(noise_std=self.noise_std, observation_noise_std=self.observation_noise_std)
        check_not_negative(factors_seed=self.factors_seed)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each state dimension."""
        return ("x1", "x2")

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """No parameters: all sequences share the same track."""
        return ()

    @property
    def factors(self) -> Float[Tensor, "p 2"]:
        """The observation matrix C."""
        generator = torch.Generator().manual_seed(self.factors_seed)
        return torch.randn(self.observations, 2, dtype=torch.float64, generator=generator)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return an empty table of ``n`` rows."""
        return torch.zeros(n, 0, dtype=torch.float64, device=generator.device)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Start at N((0, 1), 0.001 I) in a mode at random and drive ``steps - 1`` steps."""
        n, device = len(parameters), generator.device
        options = {"dtype": torch.float64, "device": device, "generator": generator}
        start = torch.tensor(_START, dtype=torch.float64, device=device)
        x = start + math.sqrt(_START_VARIANCE) * torch.randn(n, 2, **options)
        z = torch.randint(4, (n,), device=device, generator=generator)
        noise = self.noise_std * torch.randn(steps - 1, n, 2, **options)
        state, mode = drive(x, z, noise, torch.rand(steps - 1, n, 1, **options))
        clean = state @ self.factors.mT.to(device)
        observation = clean + self.observation_noise_std * torch.randn(clean.shape, **options)
        return Trajectory(state=state, observation=observation, mode=mode)

    def state_space(self, parameters: Float[Tensor, "b q"]) -> NonlinearGaussian:
        """Return the law of the observations: the state is (x_t, x_(t-1)), as x_(t-1) decides the mode that leads onwards.

        The next state is the mean over the modes, and what the modes differ by is noise: Gaussian with the true mean and
        covariance, which is exact but for the few steps at a border where two modes are about as likely.
        """
        options = {"dtype": torch.float64, "device": parameters.device}
        maps, shifts = (value.to(**options) for value in track())
        factors, eye = self.factors.to(**options), torch.eye(2, **options)

        def ways(z: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor]:
            """Return the probability of every mode, where it leads, and the mean of these."""
            onwards = _onwards(z[..., 2:])
            sticks = torch.cat([torch.ones_like(onwards[..., :1]), onwards, torch.zeros_like(onwards[..., :1])], -1)
            share = (sticks[..., :-1] - sticks[..., 1:])[..., None] if t > 1 else torch.full_like(shifts[:, :1], 0.25)
            ends = (maps @ z[..., None, :2, None])[..., 0] + shifts
            return share, ends, (share * ends).sum(-2)

        def transition(z: Tensor, u: Tensor | None, t: int) -> Tensor:
            return torch.cat([ways(z, t)[2], z[..., :2]], -1)

        def noise(z: Tensor, t: int) -> Tensor:
            share, ends, mean = ways(z, t)
            apart = ends - mean[..., None, :]
            cov = (share * apart).mT @ apart + self.noise_std**2 * eye
            return torch.nn.functional.pad(cov, (0, 2, 0, 2))

        return NonlinearGaussian(
            transition=transition,
            observation=lambda z: z[..., :2] @ factors.mT,
            Q=noise,
            R=self.observation_noise_std**2 * torch.eye(self.observations, **options),
            m0=torch.tensor(_START * 2, **options),
            P0=_START_VARIANCE * torch.eye(4, **options),
        )

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"] | None:
        """Draw the point on the track, x2 upwards; ``None`` without ``frames``."""
        if not self.frames:
            return None
        return draw_points(trajectory.state[:, :, None], (0.0, 0.0), self.reach, self.side)


def drive(
    x: Float[Tensor, "b 2"], z: Int[Tensor, " b"], noise: Float[Tensor, "t b 2"], uniform: Float[Tensor, "t b 1"]
) -> tuple[Float[Tensor, "b s 2"], Int[Tensor, "b s"]]:
    """Return states and modes from (x, z) on, one step for each entry of ``noise`` and ``uniform``.

    Stick breaking: mode k is left for the next ones with probability sigmoid(-nu_k), so the mode is the number of first
    sticks whose product of these probabilities still exceeds one uniform number.
    """
    maps, shifts = (value.to(x) for value in track())
    slope, level = _logits(x)
    states, modes = [x], [z]
    for e, u in zip(noise, uniform, strict=True):
        onwards = torch.addmm(level, x, slope).sigmoid_().cumprod(-1)
        x = torch.baddbmm((shifts[z] + e)[..., None], maps[z], x[..., None])[..., 0]
        z = (u < onwards).sum(-1)
        states.append(x)
        modes.append(z)
    return torch.stack(states, 1), torch.stack(modes, 1)


def _logits(like: Tensor) -> tuple[Tensor, Tensor]:
    """Return slope [2, 3] and level [3] of the logits with which a mode is left for the next ones."""
    borders, means = torch.tensor(_BORDERS).to(like), torch.tensor(_LOGIT_MEAN, dtype=torch.float64).to(like)
    return -_STEEPNESS * borders[:, :2].mT, -_STEEPNESS * borders[:, 2] - means


def _onwards(x: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b 3"]:
    """Return the probabilities of a mode beyond 0, 1 and 2 after the state x."""
    slope, level = _logits(x)
    return (x @ slope + level).sigmoid().cumprod(-1)


def track() -> tuple[Float[Tensor, "4 2 2"], Float[Tensor, "4 2"]]:
    """Return A and b of the four modes: two clockwise rotations about their centres, two translations."""
    rotations = [[[math.cos(a), math.sin(a)], [-math.sin(a), math.cos(a)]] for a, _ in _TURNS]
    turns = torch.tensor(rotations, dtype=torch.float64)
    straight = torch.eye(2, dtype=torch.float64)
    centres = torch.tensor([centre for _, centre in _TURNS], dtype=torch.float64)
    shifts = centres - (turns @ centres[..., None])[..., 0]
    return torch.cat([turns, straight.expand(2, 2, 2)]), torch.cat([shifts, torch.tensor(_DRIFT, dtype=torch.float64)])


def nascar() -> Nascar:
    """Return laps of a race track, a recurrent switching linear system (Linderman et al. 2017)."""
    return Nascar()


def nascar_pixels() -> Nascar:
    """Return the race track as frames: the car is a disc."""
    return Nascar(frames=True)


def nascar_original() -> Nascar:
    """Return the race track at the published length: one sequence of 10,000 steps."""
    return Nascar(steps=10_000)
