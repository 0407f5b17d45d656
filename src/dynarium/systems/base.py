"""The contract of a system."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.ssm.nonlinear import NonlinearGaussian
from dynarium.types import Trajectory


@runtime_checkable
class System(Protocol):
    """A true world, vectorised over sequences: a frozen dataclass whose fields are its whole configuration.

    Physics runs in float64. The same code feeds a file on the CPU and a training loop on the GPU: everything is created
    on the device of the generator.
    """

    # A world may have a further property ``simulator``: itself without what only ``sample_parameters`` reads. Tasks with equal
    # simulators are simulated in one call. A world whose frames are floating point has a property ``gain``: a stored dataset
    # holds the bytes 255 gain frame, rounded, and is read back as frames. A method ``of_split`` returns the world as it makes a
    # split, where splits must differ in more than their draws. A method ``foreground`` draws, of states, what the actions move,
    # alone: the frames of ``render`` in floating point, black elsewhere.
    # Properties, because the fields of a frozen dataclass are read-only.
    @property
    def steps(self) -> int:
        """Default number of time steps of a sequence."""
        ...

    @property
    def dt(self) -> float:
        """Time between two frames."""
        ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension, e.g. ``("x [px]", "y [px]")``."""
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each parameter; empty where sequences share all parameters."""
        ...

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the parameters of ``n`` sequences."""
        ...

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and return ``steps`` true states of each sequence."""
        ...

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"] | Float[Tensor, "b t c h w"] | None:
        """Draw the frames; frame t shows state t. ``None``: this world is not seen but measured."""
        ...


@runtime_checkable
class HasStateSpace(Protocol):
    """A system whose observations follow a state-space model that can be written down: what a perfect model would know."""

    def state_space(self, parameters: Float[Tensor, "b q"]) -> NonlinearGaussian:
        """Return the law of the observations of sequences with these parameters.

        Its controls are the world's actions, entry t the one that leads into step t. Its state may hold more than that of
        the world. A world without noise has covariances of 0.
        """
        ...


@runtime_checkable
class Environment(System, Protocol):
    """A world that a planner can act in: its law of one step can be asked for."""

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the true state after one action; ``simulate`` follows the same law."""
        ...
