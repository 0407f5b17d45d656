"""The contract of the equations of a Hamiltonian system, for tensors and for NumPy arrays alike."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Array = Tensor | np.ndarray

Flow = Callable[[Any, Any], tuple[Any, Any]]
"""dH/dp and -dH/dq at positions q and momenta p, whatever arrays these are."""


@runtime_checkable
class Mechanics(Protocol):
    """The equations of one kind of system, with the ranges of its parameters.

    In all methods ``theta`` holds the parameters of each sequence in the order of ``parameter_names``; its leading
    dimensions broadcast with those of the positions ``q`` and the momenta ``p``.
    """

    @property
    def bodies(self) -> int:
        """Number of discs."""
        ...

    @property
    def separable(self) -> bool:
        """Whether H is a function of p plus a function of q."""
        ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of all positions, then of all momenta."""
        ...

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each parameter."""
        ...

    @property
    def bound(self) -> float:
        """Half the side of the square around the origin that the discs stay in."""
        ...

    def neutral(self) -> "Mechanics":
        """Return the same mechanics with those ranges fixed that neither a first state nor a picture depends on."""
        ...

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw the parameters of ``n`` sequences."""
        ...

    def first_state(self, theta: Float[Tensor, "b q"], generator: torch.Generator) -> Float[Tensor, "b n"]:
        """Draw a first state (q, p) for each row of parameters."""
        ...

    def flow(self, theta: Float[Array, "*b q"]) -> Flow:
        """Return the equations of motion for given parameters, which work on tensors and on NumPy arrays alike."""
        ...

    def potential(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b"]:
        """Return the potential energy; the kinetic energy is p . dH/dp / 2 in all these systems."""
        ...

    def solution(
        self, state: Float[Tensor, "b n"], theta: Float[Tensor, "b q"], times: Float[Tensor, " t"]
    ) -> Float[Tensor, "b t n"] | None:
        """Return the exact motion without friction, ``times`` counted from ``state``; ``None`` if there is no formula."""
        ...

    def places(self, q: Float[Tensor, "*b m"], theta: Float[Tensor, "*#b q"]) -> Float[Tensor, "*b k 2"]:
        """Return where the discs are, y pointing up."""
        ...

    def masses(self, theta: Float[Tensor, "b q"]) -> Float[Tensor, "b k"]:
        """Return the mass of each disc; its area in the picture."""
        ...


def library(x: Array) -> Any:
    """Return the module whose functions work on ``x``: ``torch`` or ``numpy``."""
    return torch if isinstance(x, Tensor) else np


def columns(*parts: Array) -> Any:
    """Put numbers side by side along a new last dimension; in NumPy one per sequence, as contiguous columns."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts, -1)  # pyright: ignore[reportArgumentType]
    return np.array(parts).T


def disc_radius(mass: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
    """Return the radius of a disc whose area is its mass."""
    return (mass / torch.pi).sqrt()
