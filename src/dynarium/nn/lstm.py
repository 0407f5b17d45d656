"""The recurrent parts of stochastic video generation (Denton & Fergus 2018): a predictor, and a Gaussian of each step."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dynarium.nn.frames import full_precision

State = tuple[Tensor, Tensor]
"""Hidden and cell state [layers, b, ...] of an LSTM (Hochreiter & Schmidhuber 1997)."""


class PredictorLSTM(nn.Module):
    """Linear map, stacked LSTM, linear map and tanh; the whole sequence in one call.

    1,121,152 parameters from 138 inputs to 128 outputs with two layers of 256 units.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, x: Float[Tensor, "b t i"], state: State | None = None) -> tuple[Float[Tensor, "b t o"], State]:
        """Return the outputs in [-1, 1] of every step, and the state after the last one."""
        with torch.autocast(x.device.type, enabled=False):
            hidden, last = self.lstm(self.embed(full_precision(x)), state)
            return self.output(hidden).tanh(), last


class GaussianLSTM(nn.Module):
    """Linear map, stacked LSTM, and linear maps to the mean and the log-variance of a Gaussian of every step.

    564,500 parameters from 128 inputs to 10 dimensions with one layer of 256 units.
    """

    def __init__(self, inputs: int, outputs: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers, batch_first=True)
        self.mean = nn.Linear(hidden, outputs)
        self.log_variance = nn.Linear(hidden, outputs)

    def forward(
        self, x: Float[Tensor, "b t i"], state: State | None = None
    ) -> tuple[Float[Tensor, "b t z"], Float[Tensor, "b t z"], State]:
        """Return means, log-variances and the state after the last step."""
        with torch.autocast(x.device.type, enabled=False):
            hidden, last = self.lstm(self.embed(full_precision(x)), state)
            return self.mean(hidden), self.log_variance(hidden), last


def expanded(state: State, samples: int) -> State:
    """Return the state repeated for ``samples`` continuations of every sequence, sample after sample."""
    h, c = (part[:, None].expand(-1, samples, *part.shape[1:]).flatten(1, 2).contiguous() for part in state)
    return h, c
