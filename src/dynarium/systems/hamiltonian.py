"""Hamiltonian worlds: bodies that move by q' = dH/dp, p' = -dH/dq - f dH/dp, drawn as soft discs.

The equations of one kind of system (mass on a spring, pendulum, ...) are a ``Mechanics``; everything that all kinds share,
from the integration to the pictures, is here.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.rendering import soft_discs
from dynarium.systems.checks import check_choice, check_positive, check_range
from dynarium.systems.draws import uniform
from dynarium.systems.integrators import integrate, integrate_arrays, symplectic
from dynarium.systems.mechanics import Array, Mechanics, disc_radius, library
from dynarium.types import Trajectory

_EXTRA = 0.4  # how far a random offset may shift the picture, and so how much wider the canvas is, in canvases
_TRIALS = 200

MechanicsT = TypeVar("MechanicsT", bound=Mechanics)


@dataclass(frozen=True, kw_only=True)
class HamiltonianWorld(Generic[MechanicsT]):
    """Bodies that follow Hamilton's equations with friction (Botev, Jaegle et al. 2021), drawn as soft discs.

    A state holds all positions q, then all momenta p. Frame t shows state t. Initial conditions whose bodies would leave
    the canvas are drawn again, the parameters of the sequence being kept.

    Fields stored besides: ``derivative`` (dx/dt, friction included), ``offset`` (shift of the picture, in units of length),
    ``colour`` (hue of each disc) and ``energy_error``: the largest deviation over the sequence of the energy, and of the
    work of friction, from the energy at the start, relative to the largest kinetic energy.

    Attributes:
        mechanics: The equations, the ranges of the parameters and of the first states.
        friction: Range of f, drawn for each sequence.
        steps: Default number of time steps of a sequence.
        dt: Time between two frames.
        integrator: ``adaptive`` is exact to ``tolerance`` (and uses the exact solution where one is known); ``symplectic``
            takes ``substeps`` steps of fixed length per frame, which is of order 4 without friction.
        tolerance: Relative and absolute tolerance of a step of the adaptive integrator.
        substeps: Steps per frame of the symplectic integrator.
        energy_tolerance: Largest energy error that is accepted.
        side: Height and width of a frame in pixels.
        channels: 3 for red, green and blue; 1 for the bodies in white on black.
        frames: ``binary`` for 0 and 255 as in the published sets of latent-variable models, ``grey`` for soft discs.
        num_colors: Hues to draw from: 1 for red, 2 for red and cyan, and so on; the bodies of a sequence differ.
        random_canvas: Shift the whole sequence by a random offset on a canvas 1.4 times as wide.
        random_x: Range of a further shift along x, in units of length.
        diagonal_offset: Shift by the same number along x and y, as the original does in its sets of masses on springs.
        legacy: Row 0 of a frame is the lowest, as in the original; else the top.
    """

    mechanics: MechanicsT
    friction: tuple[float, float] = (0.0, 0.0)
    steps: int = 30
    dt: float = 0.1
    integrator: Literal["adaptive", "symplectic"] = "adaptive"
    tolerance: float = 1e-9
    substeps: int = 10
    energy_tolerance: float = 1e-3
    side: int = 32
    channels: Literal[1, 3] = 1
    frames: Literal["binary", "grey"] = "binary"
    num_colors: int = 1
    random_canvas: bool = False
    random_x: tuple[float, float] = (0.0, 0.0)
    diagonal_offset: bool = False
    legacy: bool = False

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or fewer hues than bodies.
        """
        check_positive(steps=self.steps, dt=self.dt, tolerance=self.tolerance, substeps=self.substeps)
        check_positive(energy_tolerance=self.energy_tolerance, side=self.side, num_colors=self.num_colors)
        check_range("friction", self.friction, low=0.0)
        check_range("random_x", self.random_x)
        if self.side < 2:
            raise UserError(f"side: expected at least 2 pixels, got {self.side}")
        check_choice("integrator", self.integrator, ("adaptive", "symplectic"))
        check_choice("channels", self.channels, (1, 3))
        check_choice("frames", self.frames, ("binary", "grey"))
        if 1 < self.num_colors < self.mechanics.bodies or self.num_colors > 256:
            least = max(2, self.mechanics.bodies)
            raise UserError(f"num_colors: expected 1 or at least {least} and at most 256, got {self.num_colors}")

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of all positions, then of all momenta."""
        return self.mechanics.state_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The parameters of the mechanics, and the friction."""
        return (*self.mechanics.parameter_names, "friction")

    @property
    def simulator(self) -> "HamiltonianWorld[Any]":
        """The same world without the ranges that only the parameters depend on: it simulates any of their values."""
        return replace(self, mechanics=self.mechanics.neutral(), friction=(0.0, 0.0))

    @property
    def canvas(self) -> float:
        """Half the side of the square that a frame shows, in units of length."""
        return self.mechanics.bound * (1 + _EXTRA if self.random_canvas else 1.0)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the parameters of ``n`` sequences, all uniformly."""
        theta = self.mechanics.sample_parameters(n, generator)
        return torch.cat([theta, uniform(self.friction, (n, 1), generator)], 1)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and return ``steps`` true states of each sequence.

        Raises:
            UserError: No initial condition keeps the bodies on the canvas, or the energy error is too large.
        """
        mechanics, n = self.mechanics, len(parameters)
        times = self.dt * torch.arange(steps, dtype=torch.float64, device=parameters.device)
        state = parameters.new_empty(n, steps, len(self.state_names))
        derivative, error = torch.empty_like(state), parameters.new_empty(n, 1)
        pending = torch.arange(n, device=parameters.device)
        for _ in range(_TRIALS):
            rows = parameters[pending]
            first = mechanics.first_state(rows[:, :-1], generator)
            states, work = self._solve(first, rows, times)
            state[pending] = states
            derivative[pending], error[pending] = self._derivative_and_error(states, work, rows)
            pending = pending[~self._inside(states, rows)]
            if not len(pending):
                break
        else:
            seen = dict(zip(self.parameter_names, parameters[pending[0]].tolist(), strict=True))
            raise UserError(f"mechanics: no first state in {_TRIALS} keeps the bodies on the canvas with {seen}")
        extra = {
            "derivative": derivative,
            "offset": self._offset(n, generator),
            "colour": self._colour(n, generator),
            "energy_error": error,
        }
        return Trajectory(state=state, parameter=parameters, extra=extra)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames."""
        assert trajectory.parameter is not None
        theta = trajectory.parameter[:, :-1]
        q = trajectory.state.chunk(2, -1)[0]
        places = self.mechanics.places(q, theta[:, None]) + trajectory.extra["offset"][:, None, None]
        width = 2 * self.canvas
        return soft_discs(
            (places + self.canvas) / width,
            disc_radius(self.mechanics.masses(theta)) / width,
            trajectory.extra["colour"].long(),
            self.side,
            num_colors=self.num_colors,
            channels=self.channels,
            frames=self.frames,
            upside_down=self.legacy,
        )

    def _solve(
        self, first: Float[Tensor, "b n"], parameters: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> tuple[Float[Tensor, "b t n"], Float[Tensor, "b t"]]:
        """Return the states and the work of friction up to each of them."""
        states = first.new_empty(len(first), len(times), first.shape[1])
        work = states.new_zeros(states.shape[:2])
        rubbed = parameters[:, -1] > 0
        for with_friction, mine in ((False, (~rubbed).nonzero()[:, 0]), (True, rubbed.nonzero()[:, 0])):
            if not len(mine):
                continue
            start, rows = first[mine], parameters[mine]
            if with_friction:  # its work is integrated along with the state
                motion = self._integrate(torch.cat([start, torch.zeros_like(start[:, :1])], 1), rows, times)
                states[mine], work[mine] = motion[..., :-1], motion[..., -1]
            else:
                free = self._formula(start, rows[:, :-1], times)
                states[mine] = self._integrate(start, rows, times) if free is None else free
        return states, work

    def _formula(
        self, first: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> Float[Tensor, "b t n"] | None:
        """Return the motion without friction by the exact solution or by leapfrogs; ``None`` if neither applies."""
        if self.integrator == "adaptive":
            return self.mechanics.solution(first, theta, times)
        if not self.mechanics.separable:
            return None
        flow = self.mechanics.flow(theta)
        q, p = first.chunk(2, -1)
        motion = symplectic(lambda p: flow(q, p)[0], lambda q: flow(q, p)[1], q, p, times, substeps=self.substeps)
        return torch.cat(motion, -1)

    def _integrate(
        self, first: Float[Tensor, "b m"], parameters: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> Float[Tensor, "b t m"]:
        if self.integrator == "symplectic":
            rates = self._rates(parameters, first.shape[1])
            return integrate(lambda x, _: rates(x), first, times, method="midpoint", substeps=self.substeps)
        rates = self._rates(parameters.cpu().numpy(), first.shape[1])
        states = integrate_arrays(
            lambda x, _: rates(x), first.cpu().numpy(), times.cpu().numpy(), rtol=self.tolerance, atol=self.tolerance
        )
        return torch.from_numpy(states).to(first.device)

    def _rates(self, parameters: Float[Array, "b q"], size: int) -> Callable[[Any], Any]:
        """Return dx/dt as a function of the state; of the state and the work of friction if ``size`` is odd."""
        flow, friction = self.mechanics.flow(parameters[:, :-1]), parameters[:, -1:]
        half, join = size // 2, library(parameters).concatenate

        def rates(x: Any) -> Any:
            velocity, force = flow(x[:, :half], x[:, half : 2 * half])
            if size == 2 * half:
                return join((velocity, force), 1)
            drag = friction * velocity
            return join((velocity, force - drag, (drag * velocity).sum(1)[:, None]), 1)

        return rates

    def _inside(self, state: Float[Tensor, "b t n"], parameters: Float[Tensor, "b q"]) -> Bool[Tensor, " b"]:
        theta = parameters[:, :-1]
        places = self.mechanics.places(state.chunk(2, -1)[0], theta[:, None])
        reach = places.abs().amax((1, 3)) + disc_radius(self.mechanics.masses(theta))
        return (reach <= self.mechanics.bound * (1 + 1e-9)).all(1)

    def _derivative_and_error(
        self, state: Float[Tensor, "b t n"], work: Float[Tensor, "b t"], parameters: Float[Tensor, "b q"]
    ) -> tuple[Float[Tensor, "b t n"], Float[Tensor, "b 1"]]:
        """Return dx/dt and the energy error.

        Raises:
            UserError: The energy error is larger than is accepted.
        """
        theta, friction = parameters[:, None, :-1], parameters[:, None, -1:]
        q, p = state.chunk(2, -1)
        velocity, force = self.mechanics.flow(theta)(q, p)
        kinetic = (p * velocity).sum(-1) / 2
        energy = kinetic + self.mechanics.potential(q, theta) + work
        error = (energy - energy[:, :1]).abs().amax(1) / kinetic.amax(1).clamp(min=1e-300)
        wrong = (~(error <= self.energy_tolerance)).nonzero()[:, 0]  # also where it is not a number
        if len(wrong):
            taken, remedy = {
                "adaptive": (f"tolerance {self.tolerance:g}", "a smaller tolerance"),
                "symplectic": (f"substeps {self.substeps}", "more substeps, a smaller dt or the adaptive integrator"),
            }[self.integrator]
            values = zip(self.parameter_names, parameters[wrong[0]].tolist(), strict=True)
            raise UserError(
                f"dt: the {self.integrator} integrator with dt {self.dt:g} and {taken} takes too large steps: the energy is "
                f"off by {float(error[wrong[0]]):.2g} of the kinetic energy "
                f"({', '.join(f'{name}={value:.3g}' for name, value in values)}), accepted is energy_tolerance "
                f"{self.energy_tolerance:g}; take {remedy}"
            )
        return torch.cat([velocity, force - friction * velocity], -1), error[:, None]

    def _offset(self, n: int, generator: torch.Generator) -> Float[Tensor, "b 2"]:
        offset = torch.zeros(n, 2, dtype=torch.float64, device=generator.device)
        if self.random_canvas:
            most = _EXTRA * self.mechanics.bound
            shift = uniform((-most, most), (n, 2), generator)
            offset += shift[:, :1] if self.diagonal_offset else shift
        if any(self.random_x):
            offset[:, 0] += uniform(self.random_x, (n,), generator)
        return offset

    def _colour(self, n: int, generator: torch.Generator) -> UInt8[Tensor, "b k"]:
        bodies = self.mechanics.bodies
        if self.num_colors == 1:
            return torch.zeros(n, bodies, dtype=torch.uint8, device=generator.device)
        order = torch.rand(n, self.num_colors, device=generator.device, generator=generator).argsort(1)
        return order[:, :bodies].to(torch.uint8)
