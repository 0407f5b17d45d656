"""Worlds for identification: every sequence is another system, with an input and an output, and no picture.

``action`` holds the inputs, ``observation`` the outputs; both of one index belong to one instant.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_not_negative, check_positive
from dynarium.systems.excitation import Excitation
from dynarium.systems.lti import LinearLaw, Modal, modal_sizes
from dynarium.types import Trajectory

_WHITE, _LAW, _SMALL = Excitation(), LinearLaw(), LinearLaw(order=5)
_SMALL_LAST = LinearLaw(order=5, strictly_proper=False)
_ABOUT_ZERO = 1e-6


@dataclass(frozen=True, kw_only=True)
class RandomLti:
    """Random stable linear systems, each sequence another one, driven by white noise (Forgione, Pura & Piga 2023).

    x_(t+1) = A x_t + B (u_t + w_t), y_t = C x_t + D (u_t + w_t), x_0 = 0, where w is process noise at the input. The
    measurement noise is added to the (standardised) output. ``parameter`` is the modal form of each system: real and
    imaginary parts of the poles, then B, C and D by rows.

    Attributes:
        law: Law of the systems.
        inputs: Number of inputs.
        outputs: Number of outputs.
        excitation: Law of the inputs.
        steps: Default number of time steps of a sequence.
        dt: Time between two steps.
        burn_in: Steps before the first one that is kept.
        process_noise_std: Standard deviation of w.
        measurement_noise_std: Standard deviation of the noise of every output.
        standardise: Whether each output has mean 0 and standard deviation 1 over the sequence, before measurement noise;
            this is the published law, and tells a model that sees the first steps something about the last ones.
        system_seed: All sequences are of the one system of this seed; ``None``: each of its own.
    """

    law: LinearLaw = _LAW
    inputs: int = 1
    outputs: int = 1
    excitation: Excitation = _WHITE
    steps: int = 500
    dt: float = 1.0
    burn_in: int = 0
    process_noise_std: float = 0.0
    measurement_noise_std: float = 0.0
    standardise: bool = True
    system_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(steps=self.steps, dt=self.dt, inputs=self.inputs, outputs=self.outputs)
        check_not_negative(burn_in=self.burn_in, process_noise_std=self.process_noise_std)
        check_not_negative(measurement_noise_std=self.measurement_noise_std)

    @property
    def state_names(self) -> tuple[str, ...]:
        """No names: the state of a system in a random basis means nothing, and is not kept."""
        return ()

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each entry of the modal form."""
        return modal_names(self.law.order, self.inputs, self.outputs)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw ``n`` systems."""
        if self.system_seed is not None:
            return of_one_seed(self, n, self.system_seed, generator)
        return self.law.draw(n, self.inputs, self.outputs, generator).packed()

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw inputs and noise and return what the systems answer."""
        systems = Modal.unpacked(parameters, self.law.order, self.inputs, self.outputs)
        u = self.excitation.draw(len(parameters), self.burn_in + steps, self.inputs, generator)
        y = systems.answer(with_noise(u, self.process_noise_std, generator))
        return measured(self, parameters, u, y, generator)

    def render(self, trajectory: Trajectory) -> None:
        """Return nothing: the world is measured, not seen."""


@dataclass(frozen=True, kw_only=True)
class BlockOriented:
    """Linear dynamics before and after a static nonlinearity, in one branch or several (Forgione, Pura & Piga 2023).

    In each branch x = G1 u, standardised over the steps that are kept, v = F(x) and z = G2 v. F is a random network
    W2 tanh(W1 x + b1) + b2 of normal weights, W1 scaled by 5/3 and W2 by one over the root of the hidden units. With several
    branches each z is divided by its standard deviation, so that every one counts, and y is their sum. Process noise is
    added before the nonlinearity, measurement noise to the (standardised) output.

    Attributes:
        first: Law of G1; ``None``: there is none, which is a Hammerstein system.
        last: Law of G2.
        hidden: Hidden units of F.
        branches: Number of parallel branches.
        excitation: Law of the inputs.
        steps: Default number of time steps of a sequence.
        dt: Time between two steps.
        burn_in: Steps before the first one that is kept.
        process_noise_std: Standard deviation of the noise at the input of F, which itself has standard deviation 1.
        measurement_noise_std: Standard deviation of the noise of the output.
        standardise: Whether the output has mean 0 and standard deviation 1 over the sequence, before measurement noise.
        system_seed: All sequences are of the one system of this seed; ``None``: each of its own.
    """

    first: LinearLaw | None = _SMALL
    last: LinearLaw = _SMALL_LAST
    hidden: int = 32
    branches: int = 1
    excitation: Excitation = _WHITE
    steps: int = 500
    dt: float = 1.0
    burn_in: int = 200
    process_noise_std: float = 0.0
    measurement_noise_std: float = 0.0
    standardise: bool = True
    system_seed: int | None = None

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(steps=self.steps, dt=self.dt, hidden=self.hidden, branches=self.branches)
        check_not_negative(burn_in=self.burn_in, process_noise_std=self.process_noise_std)
        check_not_negative(measurement_noise_std=self.measurement_noise_std)

    @property
    def state_names(self) -> tuple[str, ...]:
        """No names: the states in random bases mean nothing, and are not kept."""
        return ()

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each entry of G1 and G2 (modal form) and of the network, branch by branch."""
        first = () if self.first is None else modal_names(self.first.order, 1, 1)
        network = (*(f"{name}[{i}]" for name in ("w1", "b1", "w2") for i in range(self.hidden)), "b2")
        parts = (("G1", first), ("F", network), ("G2", modal_names(self.last.order, 1, 1)))
        return tuple(f"{k}.{part}.{name}" for k in range(self.branches) for part, names in parts for name in names)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw ``n`` systems."""
        if self.system_seed is not None:
            return of_one_seed(self, n, self.system_seed, generator)
        rows = n * self.branches
        parts = [] if self.first is None else [self.first.draw(rows, 1, 1, generator).packed()]
        options = {"dtype": torch.float64, "device": generator.device}
        weights = torch.randn(rows, 3 * self.hidden + 1, generator=generator, **options)
        scale = torch.ones(3 * self.hidden + 1, **options)
        scale[: self.hidden] = 5 / 3
        scale[2 * self.hidden : -1] = self.hidden**-0.5
        parts += [weights * scale, self.last.draw(rows, 1, 1, generator).packed()]
        return torch.cat(parts, 1).reshape(n, -1)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw inputs and noise and return what the systems answer."""
        n, k = len(parameters), self.branches
        u = self.excitation.draw(n, self.burn_in + steps, 1, generator)
        rows = parameters.reshape(n * k, -1)
        sizes = [0 if law is None else sum(modal_sizes(law.order, 1, 1)) for law in (self.first, self.last)]
        first, network, last = rows.split([sizes[0], 3 * self.hidden + 1, sizes[1]], 1)
        x = u if k == 1 else u.repeat_interleave(k, 0)
        if self.first is not None:
            x = standardised(Modal.unpacked(first, self.first.order, 1, 1).answer(x), self.burn_in)
        v = self._nonlinearity(network, with_noise(x, self.process_noise_std, generator))
        y = Modal.unpacked(last, self.last.order, 1, 1).answer(v)
        if k > 1:
            y = (
                (y / (y[:, self.burn_in :].std(1, correction=0, keepdim=True) + _ABOUT_ZERO))
                .unflatten(0, (n, k))
                .sum(1)
            )
        return measured(self, parameters, u, y, generator)

    def render(self, trajectory: Trajectory) -> None:
        """Return nothing: the world is measured, not seen."""

    def _nonlinearity(self, network: Tensor, x: Tensor) -> Tensor:
        """Return F(x)."""
        w1, b1, w2 = network[:, :-1].unflatten(1, (3, self.hidden)).unbind(1)
        if x.device.type == "cpu":
            from dynarium.systems.lti_sweeps import network_answer  # compiled when it is first used

            return network_answer(x[..., 0], w1, b1, w2, network[:, -1])[..., None]
        units = torch.addcmul(b1[:, None], x, w1[:, None]).tanh_()
        return units @ w2[..., None] + network[:, -1:, None]


def random_lti() -> RandomLti:
    """Return random linear systems of order 1 to 10, white input, no noise (Forgione, Pura & Piga 2023)."""
    return RandomLti()


def wiener_hammerstein() -> BlockOriented:
    """Return random Wiener-Hammerstein systems: linear, static nonlinear, linear (Forgione, Pura & Piga 2023)."""
    return BlockOriented()


def parallel_wiener_hammerstein() -> BlockOriented:
    """Return sums of three random Wiener-Hammerstein systems of one input."""
    return BlockOriented(branches=3)


def hammerstein() -> BlockOriented:
    """Return random Hammerstein systems: a static nonlinearity, then linear dynamics."""
    return BlockOriented(first=None)


def modal_names(order: int, inputs: int, outputs: int) -> tuple[str, ...]:
    """Return the names of the entries of a packed modal form."""
    matrices = {"b": (order, inputs), "c": (outputs, order), "d": (outputs, inputs)}
    return (
        *(f"{part}[{i}]" for part in ("re", "im") for i in range(order)),
        *(
            f"{name}[{i},{j}]"
            for name, (rows, columns) in matrices.items()
            for i in range(rows)
            for j in range(columns)
        ),
    )


def of_one_seed(world: Any, n: int, seed: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
    """Return the parameters that the system of a seed has, ``n`` times."""
    own = torch.Generator(generator.device).manual_seed(seed)
    return replace(world, system_seed=None).sample_parameters(1, own).expand(n, -1)


def with_noise(x: Float[Tensor, "b t a"], std: float, generator: torch.Generator) -> Float[Tensor, "b t a"]:
    """Return ``x`` with white Gaussian noise."""
    if not std:
        return x
    return x + std * torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)


def standardised(y: Float[Tensor, "b t p"], first: int = 0) -> Float[Tensor, "b t p"]:
    """Return signals of mean 0 and standard deviation 1 over their steps from ``first`` on."""
    if y.device.type == "cpu" and y.shape[2] == 1:
        from dynarium.systems.lti_sweeps import standardised_rows  # compiled when it is first used

        return standardised_rows(y[..., 0], first, _ABOUT_ZERO)[..., None]
    kept = y[:, first:]
    return (y - kept.mean(1, keepdim=True)) / (kept.std(1, correction=0, keepdim=True) + _ABOUT_ZERO)


def measured(world: Any, parameters: Tensor, u: Tensor, y: Tensor, generator: torch.Generator) -> Trajectory:
    """Return the kept steps of inputs and outputs as a world's options have them.

    Raises:
        UserError: An output is not finite.
    """
    u, y = u[:, world.burn_in :], y[:, world.burn_in :]
    if not bool(torch.isfinite(y.sum(1)).all()):
        raise UserError("simulate: an output is not finite; narrower ranges of the parameters may help")
    if world.standardise:
        y = standardised(y)
    y = with_noise(y, world.measurement_noise_std, generator)
    empty = torch.empty(*u.shape[:2], 0, dtype=torch.float64, device=u.device)
    return Trajectory(state=empty, action=u, observation=y, parameter=parameters)
