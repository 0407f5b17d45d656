"""Convolutional LSTM (Shi et al. 2015, arXiv:1506.04214) of maps that come as flat vectors."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frames import full_precision
from dynarium.nn.lstm import State


class ConvLSTM(nn.Module):
    """Stacked LSTM cells whose maps are 3x3 convolutions.

        i, f, o = sigmoid(W_x x + W_h h + b),   c' = f c + i tanh(V_x x + V_h h + b),   h' = o tanh(c')

    (without the peepholes of the paper). The inputs' share of the gates is computed for all steps at once.
    """

    def __init__(self, inputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        sizes = (inputs, *[hidden] * (layers - 1))
        self.from_input = nn.ModuleList(nn.Conv2d(size, 4 * hidden, 3, 1, 1) for size in sizes)
        self.from_state = nn.ModuleList(nn.Conv2d(hidden, 4 * hidden, 3, 1, 1, bias=False) for _ in sizes)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, x: Float[Tensor, "b t c h w"], state: State | None = None
    ) -> tuple[Float[Tensor, "b t d h w"], State]:
        """Return the last layer's hidden maps of every step, and the state after the last one."""
        b, t, last = x.shape[0], x.shape[1], []
        for k, (inputs, recurrent) in enumerate(zip(self.from_input, self.from_state, strict=True)):
            maps = inputs(x.flatten(0, 1).contiguous(memory_format=torch.channels_last)).unflatten(0, (b, t))
            if state is None:
                h = c = x.new_zeros(b, self.hidden, *x.shape[3:])
            else:
                h, c = state[0][k], state[1][k]
            outputs = []
            for i in range(t):
                gates = full_precision(maps[:, i] + recurrent(h))
                into, forget, out, new = gates.chunk(4, 1)
                c = forget.sigmoid() * c + into.sigmoid() * new.tanh()
                h = out.sigmoid() * c.tanh()
                outputs.append(h)
            x = torch.stack(outputs, 1)
            last.append((h, c))
        h, c = (torch.stack(part) for part in zip(*last, strict=True))
        return x, (h, c)


class _Maps(nn.Module):
    """Splits vectors into a map and numbers that hold for all of it, runs a convolutional LSTM over the sequence."""

    def __init__(self, grid: tuple[int, int, int], further: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.grid, self.size = grid, grid[0] * grid[1] * grid[2]
        self.lstm = ConvLSTM(grid[0] + further, hidden, layers)

    def forward(self, x: Float[Tensor, "b t i"], state: State | None) -> tuple[Float[Tensor, "b t d h w"], State]:
        """Return the hidden maps of every step, and the state after the last one."""
        maps, further = x[..., : self.size].unflatten(-1, self.grid), x[..., self.size :]
        spread = further[..., None, None].expand(*further.shape, *self.grid[1:])
        return self.lstm(torch.cat([maps, spread], 2), state)


class PredictorConvLSTM(nn.Module):
    """From sequences of a map and further numbers to sequences of maps in [-1, 1], all as flat vectors."""

    def __init__(self, grid: tuple[int, int, int], further: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.maps = _Maps(grid, further, hidden, layers)
        self.output = nn.Conv2d(hidden, grid[0], 1)

    def forward(self, x: Float[Tensor, "b t i"], state: State | None = None) -> tuple[Float[Tensor, "b t o"], State]:
        """Return the maps of every step, and the state after the last one."""
        hidden, last = self.maps(x, state)
        output = full_precision(self.output(hidden.flatten(0, 1))).tanh()
        return output.unflatten(0, x.shape[:2]).flatten(2), last


class GaussianConvLSTM(nn.Module):
    """From sequences of a map and further numbers to a Gaussian of every step, read off the mean over the map."""

    def __init__(self, grid: tuple[int, int, int], further: int, outputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.maps = _Maps(grid, further, hidden, layers)
        self.outputs = nn.Linear(hidden, 2 * outputs)

    def forward(
        self, x: Float[Tensor, "b t i"], state: State | None = None
    ) -> tuple[Float[Tensor, "b t z"], Float[Tensor, "b t z"], State]:
        """Return means, log-variances and the state after the last step."""
        hidden, last = self.maps(x, state)
        pooled = hidden.mean((3, 4))
        mean, log_variance = full_precision(F.linear(pooled, self.outputs.weight, self.outputs.bias)).chunk(2, -1)
        return mean, log_variance, last
