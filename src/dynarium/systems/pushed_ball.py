"""A bouncing ball that is pushed: its action is a force."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.actions import RandomActions
from dynarium.systems.ball import BouncingBall
from dynarium.systems.billiards import fly
from dynarium.systems.walls import half_planes
from dynarium.types import Trajectory

_BALL, _FORCING = BouncingBall(), RandomActions(kind="steps", largest=20.0, hold=4)


@dataclass(frozen=True, kw_only=True)
class PushedBall:
    """One ball of mass 1 that bounces off the walls of a container under a force, constant from one frame to the next.

    Between two frames the ball flies under gravity plus force, exactly, its reflections included. The state holds (x, y, vx,
    vy) in px of the world and px per unit of time, y down; ``action[:, t]`` is the force (x, y) from t to t+1, in px per
    squared unit of time.

    Attributes:
        ball: Container, first states, gravity and drawing; of one ball.
        forcing: How forces are drawn.
        max_action: Largest force along each axis; a larger one is cut.
        steps: Default number of time steps of a sequence.
    """

    ball: BouncingBall = _BALL
    forcing: RandomActions = _FORCING
    max_action: float = 20.0
    steps: int = 20

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: Another number of balls, or one of the published sets' quirks.
        """
        if self.ball.balls != 1 or self.ball.legacy_offset or self.ball.legacy_contact:
            raise UserError("ball: expected one ball without legacy_offset and legacy_contact")
        if self.forcing.largest > self.max_action:
            raise UserError(
                f"max_action: expected at least the {self.forcing.largest} of the forcing, got {self.max_action}"
            )

    @property
    def dt(self) -> float:
        """Time between two frames."""
        return self.ball.dt

    @property
    def state_names(self) -> tuple[str, ...]:
        """Name and unit of each state dimension."""
        return self.ball.state_names

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Gravity."""
        return self.ball.parameter_names

    def sample_parameters(self, n: int, generator: torch.Generator) -> Float[Tensor, "b q"]:
        """Return the gravity of each of ``n`` sequences."""
        return self.ball.sample_parameters(n, generator)

    def simulate(self, parameters: Float[Tensor, "b q"], steps: int, generator: torch.Generator) -> Trajectory:
        """Draw initial conditions and forces and return ``steps`` states."""
        states = [self.ball.simulate(parameters, 1, generator).state[:, 0]]
        force = self.forcing.draw(len(parameters), steps, 2, generator)
        for t in range(steps - 1):
            states.append(self.transition(states[-1], force[:, t], parameters))
        return Trajectory(state=torch.stack(states, 1), action=force, parameter=parameters)

    def transition(
        self, state: Float[Tensor, "b n"], action: Float[Tensor, "b a"], parameters: Float[Tensor, "b q"]
    ) -> Float[Tensor, "b n"]:
        """Return the state after a force has acted from one frame to the next."""
        force = action.clamp(-self.max_action, self.max_action)
        x, v = fly(
            state[:, None, :2],
            state[:, None, 2:],
            torch.tensor([self.dt], dtype=state.dtype, device=state.device),
            container=half_planes(self.ball.container, state.device),
            radius=self.ball.radius,
            gravity=parameters + force,
        )
        return torch.cat([x[:, 0, 0], v[:, 0, 0]], -1)

    def render(self, trajectory: Trajectory) -> UInt8[Tensor, "b t c h w"]:
        """Draw the frames; frame t shows state t."""
        return self.ball.render(trajectory)


def bouncing_ball_actions() -> PushedBall:
    """Return the ball of the paper's box, pushed by a random force that is its action."""
    return PushedBall()
