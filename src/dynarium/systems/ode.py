"""Worlds that are an equation: right-hand side, ranges of parameters and first states, and a way of drawing."""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.ssm.nonlinear import NonlinearGaussian
from dynarium.systems.actions import RandomActions
from dynarium.systems.checks import check_not_negative, check_positive, check_range
from dynarium.systems.draws import Range, shared_factors, uniform_rows
from dynarium.systems.integrators import integrate
from dynarium.systems.views import Circle, Plane, Rod, Strategies
from dynarium.types import Trajectory

_TOLERANCE = 1e-9
_FORCING, _PLANE = RandomActions(), Plane()


@dataclass(frozen=True, kw_only=True)
class Ode:
    """The solution of dx/dt = f(x, u; p); f is a function that may live in any module.

    ::

        def duffing(q, v, *, alpha, beta, delta):
            return v, -delta * v - alpha * q - beta * q**3


        Ode(
            equation="my_module:duffing",
            start={"q": (-1.5, 1.5), "v": (-1.0, 1.0)},
            parameters={"alpha": (-1.0, -1.0), "beta": (1.0, 1.0), "delta": (0.0, 0.3)},
        )

    The function takes the state dimensions in order, then the actions, and the parameters by name; all are tensors of one
    shape, one entry for each sequence (and time), and it returns the derivative of every state dimension.

    The equation is integrated with a relative error of 1e-9 a step. ``parameter`` holds the parameters of each sequence and
    ``derivative`` the right-hand side at every state. Where there are actions, ``action[:, t]`` acts, constant, from t to
    t+1; ``derivative`` is then the one just after t. With ``observations`` the world is also measured: by sensors, each a
    weighted sum of the state with noise.

    Attributes:
        equation: ``module:function`` of the right-hand side.
        start: Name of each state dimension and the range of its first value, uniform.
        parameters: Name of each parameter and its range, uniform; drawn once for each sequence.
        simplex: The first state is divided by its sum over each of so many equal parts, as probabilities are.
        steps: Default number of time steps of a sequence.
        dt: Time between two steps.
        actions: Dimension of the action; 0 where there is none.
        forcing: How actions are drawn.
        observations: Number of sensors; 0: the world is only seen.
        factors_seed: Seed of their weights, uniform in (-1, 1); all sequences share them.
        observation_noise_std: Standard deviation of the noise of every sensor.
        view: How a state is drawn.
        side: Height and width of a frame in pixels.
    """

    equation: str
    start: dict[str, Range]
    parameters: dict[str, Range] = field(default_factory=dict)
    simplex: int = 0
    steps: int = 100
    dt: float = 0.1
    actions: int = 0
    forcing: RandomActions = _FORCING
    observations: int = 0
    factors_seed: int = 0
    observation_noise_std: float = 0.1
    view: Plane | Circle | Rod | Strategies = _PLANE
    side: int = 32

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range, a range out of order, or an equation that does not fit.
        """
        check_positive(steps=self.steps, dt=self.dt, side=self.side)
        check_not_negative(actions=self.actions, simplex=self.simplex, observations=self.observations)
        check_not_negative(factors_seed=self.factors_seed, observation_noise_std=self.observation_noise_std)
        if not self.start:
            raise UserError("start: expected at least one state dimension, got none")
        for name, values in (self.start | self.parameters).items():
            if len(values) != 2:
                raise UserError(f"{name}: expected a lowest and a highest value, got {values}")
            check_range(name, values, low=0.0 if self.simplex and name in self.start else -torch.inf)
        if self.simplex and len(self.start) % self.simplex:
            raise UserError(
                f"simplex: expected a divisor of the {len(self.start)} state dimensions, got {self.simplex}"
            )
        self._check_equation()

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name of each state dimension."""
        return tuple(self.start)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Name of each parameter."""
        return tuple(self.parameters)

    @property
    def factors(self) -> Float[Tensor, "n p"]:
        """The map from state to observation."""
        return shared_factors(len(self.start), self.observations, self.factors_seed)

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Draw every parameter uniformly from its range."""
        return uniform_rows(self.parameters.values(), n, generator)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw first states (and actions) and return ``steps`` states of each sequence.

        Raises:
            UserError: The equation has no finite solution for a sequence.
        """
        first = uniform_rows(self.start.values(), len(parameters), generator)
        if self.simplex:
            parts = first.unflatten(-1, (self.simplex, -1))
            first = (parts / parts.sum(-1, keepdim=True)).flatten(1)
        times = self.dt * torch.arange(steps, dtype=torch.float64, device=generator.device)
        action = None
        if self.actions:
            action = self.forcing.draw(len(parameters), steps, self.actions, generator)
            states = [first]
            for t in range(steps - 1):
                states.append(self._solve(states[-1], parameters, action[:, t], times[:2])[:, 1])
            state = torch.stack(states, 1)
        else:
            state = self._solve(first, parameters, None, times)
        observation = None
        if self.observations:
            clean = state @ self.factors.to(state.device)
            noise = torch.randn(clean.shape, dtype=clean.dtype, device=clean.device, generator=generator)
            observation = clean + self.observation_noise_std * noise
        return Trajectory(
            state=state,
            action=action,
            observation=observation,
            parameter=parameters,
            extra={"derivative": self.slope(state, parameters[:, None], action)},
        )

    def state_space(self, parameters: Float[Tensor, "b q"]) -> NonlinearGaussian:
        """Return the law of the observations; the first state is Gaussian with the mean and variance of its range.

        Raises:
            UserError: The world is not measured.
        """
        if not self.observations:
            raise UserError(
                "observations: expected at least 1, as a world that is only seen has no law of observations"
            )
        options = {"dtype": torch.float64, "device": parameters.device}
        low, high = torch.tensor(list(self.start.values()), **options).unbind(-1)
        mean, std = (low + high) / 2, (high - low) / 12**0.5
        if self.simplex:
            whole = mean.unflatten(0, (self.simplex, -1)).sum(-1).repeat_interleave(len(mean) // self.simplex)
            mean, std = mean / whole, std / whole
        factors, times = self.factors.to(**options), self.dt * torch.arange(2, **options)

        def transition(z: Tensor, u: Tensor | None, t: int) -> Tensor:
            rows = [x.expand(*z.shape[:-1], -1).flatten(0, -2) for x in (parameters, u) if x is not None]
            action = None if u is None else rows[1]
            return self._solve(z.flatten(0, -2), rows[0], action, times)[:, 1].view(z.shape)

        return NonlinearGaussian(
            transition=transition,
            observation=lambda z: z @ factors,
            Q=torch.zeros(len(mean), len(mean), **options),
            R=self.observation_noise_std**2 * torch.eye(self.observations, **options),
            m0=mean,
            P0=std.square().clamp(min=1e-12).diag(),
        )

    def slope(
        self,
        state: Float[Tensor, "*b n"],
        parameters: Float[Tensor, "*#b q"],
        action: Float[Tensor, "*b a"] | None = None,
    ) -> Float[Tensor, "*b n"]:
        """Return dx/dt."""
        named = dict(zip(self.parameters, parameters.unbind(-1), strict=True))
        terms = self._function()(*state.unbind(-1), *(() if action is None else action.unbind(-1)), **named)
        return torch.stack(torch.broadcast_tensors(*terms), -1).expand(state.shape)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t."""
        return self.view.draw(trajectory.state, self.side)

    def _solve(self, first: Tensor, parameters: Tensor, action: Tensor | None, times: Tensor) -> Tensor:
        return integrate(lambda x, t: self.slope(x, parameters, action), first, times, rtol=_TOLERANCE, atol=_TOLERANCE)

    def _function(self) -> Callable[..., tuple[Tensor, ...]]:
        module, _, name = self.equation.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError, ValueError) as error:
            raise UserError(f"equation: expected module:function, got {self.equation!r} ({error})") from None

    def _check_equation(self) -> None:
        """Raise a UserError unless the function takes these states, actions and parameters."""
        values: list[Any] = [None] * (len(self.start) + self.actions)
        try:
            inspect.signature(self._function()).bind(*values, **dict.fromkeys(self.parameters))
        except TypeError as error:
            raise UserError(f"equation: {self.equation} does not fit start, actions and parameters: {error}") from None
