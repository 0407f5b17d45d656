"""Nonlinear systems of the identification benchmarks, each sequence with parameters of its own, driven by an input."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_not_negative, check_positive, check_range
from dynarium.systems.draws import Range, uniform_rows
from dynarium.systems.excitation import Excitation
from dynarium.systems.identification import measured, of_one_seed, with_noise
from dynarium.types import Trajectory

Terms = tuple[Tensor, ...]
_WHITE = Excitation()


@dataclass(frozen=True, kw_only=True)
class Driven:
    """dx/dt = f(x, u; p), one state of which is measured: y = x_k plus noise.

    The input is held from one sample to the next, and the equation solved by ``substeps`` classical Runge-Kutta steps of
    order 4 in between. ``action[:, t]`` is the input that begins to act at the instant of ``observation[:, t]``. ``state``
    holds all states, ``parameter`` the parameters of each sequence.

    Attributes:
        equation: ``module:function`` of the right-hand side: takes the states in order, the input, and the parameters by
            name.
        states: Name of each state; all begin at 0.
        measured_state: Name of the measured one.
        parameters: Name of each parameter and its range, uniform.
        limits: ``module:function`` that takes and returns the states (and takes the parameters) after each substep, where
            they have hard limits; empty: none.
        excitation: Law of the input.
        lowest_input: Smaller inputs become this one; ``None``: any input.
        steps: Default number of time steps of a sequence.
        dt: Time between two steps.
        substeps: Runge-Kutta steps of one time step.
        burn_in: Steps before the first one that is kept.
        process_noise_std: Standard deviation of white noise added to the input that acts.
        measurement_noise_std: Standard deviation of the noise of the (standardised) output.
        standardise: Whether the output has mean 0 and standard deviation 1 over the sequence, before measurement noise.
        system_seed: All sequences are of the one system of this seed; ``None``: each of its own.
    """

    equation: str
    states: tuple[str, ...]
    measured_state: str
    parameters: dict[str, Range] = field(default_factory=dict)
    limits: str = ""
    excitation: Excitation = _WHITE
    lowest_input: float | None = None
    steps: int = 500
    dt: float = 1.0
    substeps: int = 4
    burn_in: int = 0
    process_noise_std: float = 0.0
    measurement_noise_std: float = 0.0
    standardise: bool = True
    system_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, or a name that does not fit.
        """
        check_positive(steps=self.steps, dt=self.dt, substeps=self.substeps)
        check_not_negative(burn_in=self.burn_in, process_noise_std=self.process_noise_std)
        check_not_negative(measurement_noise_std=self.measurement_noise_std)
        for name, values in self.parameters.items():
            check_range(name, values)
        if self.measured_state not in self.states:
            raise UserError(f"measured_state: expected one of {', '.join(self.states)}, got {self.measured_state!r}")
        for name in (self.equation, *([self.limits] if self.limits else [])):
            _function(name)

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each state."""
        return self.states

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each parameter."""
        return tuple(self.parameters)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw every parameter uniformly from its range."""
        if self.system_seed is not None:
            return of_one_seed(self, n, self.system_seed, generator)
        return uniform_rows(self.parameters.values(), n, generator)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw inputs and noise and return what the systems answer.

        Raises:
            UserError: The equation has no finite solution for a sequence.
        """
        u = self.excitation.draw(len(parameters), self.burn_in + steps, 1, generator)
        if self.lowest_input is not None:
            u = u.clamp(min=self.lowest_input)
        state = self.solve(parameters, with_noise(u, self.process_noise_std, generator))
        number = self.states.index(self.measured_state)
        made = measured(self, parameters, u, state[..., number : number + 1], generator)
        return Trajectory(
            state=state[:, self.burn_in :], action=made.action, observation=made.observation, parameter=parameters
        )

    def solve(self, parameters: Float[Tensor, "b q"], u: Float[Tensor, "b t 1"]) -> Float[Tensor, "b t n"]:
        """Return the states under these inputs, from 0."""
        named = dict(zip(self.parameters, parameters.unbind(-1), strict=True))
        equation, limits = _function(self.equation), _function(self.limits) if self.limits else None
        h = self.dt / self.substeps
        x = torch.zeros(len(self.states), len(u), dtype=u.dtype, device=u.device)
        states = [x]

        def slope(x: Tensor, held: Tensor) -> Tensor:
            return torch.stack(torch.broadcast_tensors(*equation(*x, held, **named)))

        for held in u[:, :-1, 0].unbind(1):
            for _ in range(self.substeps):
                k1 = slope(x, held)
                k2 = slope(x + h / 2 * k1, held)
                k3 = slope(x + h / 2 * k2, held)
                k4 = slope(x + h * k3, held)
                x = x + h / 6 * (k1 + 2 * (k2 + k3) + k4)
                if limits is not None:
                    x = torch.stack(limits(*x, **named))
            states.append(x)
        return torch.stack(states).permute(2, 0, 1)

    def render(self, trajectory: Trajectory) -> None:
        """Return nothing: the world is measured, not seen."""


def duffing_driven_equation(y: Tensor, v: Tensor, u: Tensor, *, omega: Tensor, zeta: Tensor, beta: Tensor) -> Terms:
    """Duffing: y'' = -2 zeta omega y' - omega^2 y - beta y^3 + u."""
    return v, -2 * zeta * omega * v - omega**2 * y - beta * y**3 + u


def duffing_driven() -> Driven:
    """Return driven hardening Duffing oscillators, whose position is measured (Wigren & Schoukens 2013, Silverbox)."""
    return Driven(
        equation=f"{__name__}:duffing_driven_equation",
        states=("y", "v"),
        measured_state="y",
        parameters={"omega": (0.5, 1.5), "zeta": (0.02, 0.2), "beta": (0.1, 1.0)},
        excitation=Excitation(kind="multisine", band=(0.0, 0.4)),
        dt=0.5,
        substeps=8,
        burn_in=100,
    )


def bouc_wen_equation(
    y: Tensor,
    v: Tensor,
    z: Tensor,
    u: Tensor,
    *,
    mass: Tensor,
    damping: Tensor,
    stiffness: Tensor,
    alpha: Tensor,
    beta: Tensor,
    gamma: Tensor,
    delta: Tensor,
) -> Terms:
    """Bouc-Wen: m y'' + c y' + k y + z = u, z' = alpha y' - beta (gamma |y'| z + delta y' |z|)."""
    return (
        v,
        (u - damping * v - stiffness * y - z) / mass,
        alpha * v - beta * (gamma * v.abs() * z + delta * v * z.abs()),
    )


def bouc_wen() -> Driven:
    """Return hysteretic Bouc-Wen oscillators, whose position is measured (Noel & Schoukens 2016).

    The ranges reach 20 % to either side of the benchmark's mass 2 kg, damping 10 Ns/m, stiffness and alpha 5e4 N/m, beta 1e3,
    gamma 0.8 and delta -1.1; its exponent is 1, its input a multisine of 5 to 150 Hz and 50 N.
    """
    centre = {"mass": 2.0, "damping": 10.0, "stiffness": 5e4, "alpha": 5e4, "beta": 1e3, "gamma": 0.8}
    return Driven(
        equation=f"{__name__}:bouc_wen_equation",
        states=("y [m]", "v [m/s]", "z [N]"),
        measured_state="y [m]",
        parameters={name: (0.8 * x, 1.2 * x) for name, x in centre.items()} | {"delta": (-1.32, -0.88)},
        excitation=Excitation(kind="multisine", std=50.0, band=(5 / 375, 150 / 375)),
        dt=1 / 750,
        substeps=8,
        burn_in=200,
    )


def tanks_equation(
    x1: Tensor, x2: Tensor, u: Tensor, *, k1: Tensor, k2: Tensor, k3: Tensor, k4: Tensor, spill: Tensor
) -> Terms:
    """Two tanks in cascade: x1' = -k1 sqrt(x1) + k4 u, x2' = k2 sqrt(x1) - k3 sqrt(x2)."""
    out1, out2 = x1.clamp(min=0).sqrt(), x2.clamp(min=0).sqrt()
    return -k1 * out1 + k4 * u, k2 * out1 - k3 * out2


def tanks_limits(x1: Tensor, x2: Tensor, *, spill: Tensor, **_: Tensor) -> Terms:
    """Levels lie in 0 .. 10; of what flows over the upper tank a share ``spill`` falls into the lower one."""
    over = (x1 - 10).clamp(min=0)
    return (x1 - over).clamp(min=0), (x2 + spill * over).clamp(0, 10)


def cascaded_tanks() -> Driven:
    """Return two tanks in cascade that can overflow; the lower level is measured (Schoukens & Noel 2017)."""
    return Driven(
        equation=f"{__name__}:tanks_equation",
        states=("x1", "x2"),
        measured_state="x2",
        parameters={
            "k1": (0.04, 0.06),
            "k2": (0.04, 0.06),
            "k3": (0.04, 0.06),
            "k4": (0.03, 0.045),
            "spill": (0.0, 1.0),
        },
        limits=f"{__name__}:tanks_limits",
        excitation=Excitation(kind="multisine", mean=3.0, std=1.0, band=(0.0, 0.15)),
        lowest_input=0.0,
        dt=4.0,
        burn_in=100,
    )


def _function(path: str) -> Callable[..., Terms]:
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"equation: expected module:function, got {path!r} ({error})") from None
