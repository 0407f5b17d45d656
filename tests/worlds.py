"""Tiny worlds for tests of rooms that only need some world: a bright pixel that drifts around a ring of columns, and grey."""

from dataclasses import dataclass

import torch

from dynarium.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class Drift:
    steps: int = 6
    dt: float = 0.5
    side: int = 8
    speed: float = 1.0

    @property
    def state_names(self):
        return ("x [px]", "v [px]")

    @property
    def parameter_names(self):
        return ("row",)

    def sample_parameters(self, n, generator):
        return torch.randint(self.side, (n, 1), generator=generator).double()

    def simulate(self, parameters, steps, generator):
        n = len(parameters)
        x = torch.randint(self.side, (n, 1), generator=generator).double()
        v = self.speed * (1 + torch.randint(2, (n, 1), generator=generator).double()).expand(n, steps)
        position = (x + v * torch.arange(steps)) % self.side
        return Trajectory(state=torch.stack([position, v], -1), parameter=parameters)

    def render(self, trajectory):
        columns = torch.arange(self.side)
        lit = trajectory.state[..., :1].long() == columns
        rows = trajectory.parameter[:, :1].long() == columns
        return (rows[:, None, None, :, None] & lit[:, :, None, None, :]).to(torch.uint8) * 255


@dataclass(frozen=True, kw_only=True)
class Flat:
    """A world of one state and, if wanted, three channels, beside the two states and one channel of ``Drift``."""

    steps: int = 6
    dt: float = 0.5
    channels: int = 1

    state_names = ("x",)
    parameter_names = ()

    def sample_parameters(self, n, generator):
        return torch.zeros(n, 0, dtype=torch.float64)

    def simulate(self, parameters, steps, generator):
        return Trajectory(state=1 + torch.rand(len(parameters), steps, 1, generator=generator).double())

    def render(self, trajectory):
        level = trajectory.state[..., None, None] * 100
        return level.expand(-1, -1, self.channels, 8, 8).to(torch.uint8)
