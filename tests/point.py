"""A tiny world in which a planner can act, and a model whose latent is the position."""

from dataclasses import dataclass

import torch

from dynarium.types import Trajectory


@dataclass(frozen=True, kw_only=True)
class Point:
    """A dot in a box, moved by what is asked of it; with a wall in the middle if there is one."""

    side: int = 16
    steps: int = 9
    dt: float = 1.0
    longest: float = 2.0
    wall: bool = False
    door: float = 4.0

    @property
    def state_names(self):
        return "x [px]", "y [px]"

    @property
    def parameter_names(self):
        return ()

    def sample_parameters(self, n, generator):
        return torch.zeros(n, 0, dtype=torch.float64)

    def simulate(self, parameters, steps, generator):
        n, most = len(parameters), self.side - 3.0
        x = 2 + (most - 2) * torch.rand(n, 2, generator=generator, dtype=torch.float64)
        if self.wall:
            x[:, 0] = torch.where((x[:, 0] - 7.5).abs() < 1.5, 3.0, x[:, 0])
        angle = 2 * torch.pi * torch.rand(n, steps, generator=generator, dtype=torch.float64)
        length = self.longest * torch.rand(n, steps, generator=generator, dtype=torch.float64)
        action = length[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
        states = [x]
        for t in range(steps - 1):
            states.append(self.transition(states[-1], action[:, t], parameters))
        return Trajectory(state=torch.stack(states, 1), action=action)

    def transition(self, state, action, parameters):
        after = (state + action).clamp(2.0, self.side - 3.0)
        if self.wall:
            crosses = (state[:, 0] < 7.5) != (after[:, 0] < 7.5)
            shut = (after[:, 1] - self.door).abs() > 2
            after = torch.where((crosses & shut)[:, None], state, after)
        return after

    def shortest_path(self, start, goal, parameters):
        straight = (goal - start).norm(dim=-1)
        if not self.wall:
            return straight
        door = torch.tensor([7.5, self.door], dtype=start.dtype)
        return torch.where(
            (start[:, 0] < 7.5) == (goal[:, 0] < 7.5),
            straight,
            (start - door).norm(dim=-1) + (goal - door).norm(dim=-1),
        )

    def render(self, trajectory):
        grid = torch.arange(self.side, dtype=torch.float64)
        x, y = (trajectory.state[..., k, None] for k in (0, 1))
        frames = (-((grid - y) ** 2) / 3.4).exp()[..., :, None] * (-((grid - x) ** 2) / 3.4).exp()[..., None, :]
        return (frames * 255).round().to(torch.uint8)[:, :, None]


class Knows:
    """Its latent is a linear map of where the dot is; it imagines the box, and walls or not."""

    def __init__(self, world, noise=0.0, blind=False):
        self.world, self.noise, self.blind = world, noise, blind
        self.mix = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))

    def place(self, video):
        x = video.float()[:, :, 0]
        x = x / x.sum((-1, -2), keepdim=True)
        grid = torch.arange(x.shape[-1], dtype=x.dtype)
        return torch.stack([(x.sum(-2) * grid).sum(-1), (x.sum(-1) * grid).sum(-1)], -1)

    def embed(self, video):
        where = self.place(video)
        if self.blind:
            where = 0 * where
        return where @ self.mix + 1

    def imagine(self, start, action):
        x, found = (start - 1) @ torch.linalg.pinv(self.mix), []
        for t in range(action.shape[1]):
            x = self.world.transition(x, action[:, t].to(x.dtype), x[:, :0]).to(start.dtype)
            found.append(x)
        return torch.stack(found, 1) @ self.mix + 1
