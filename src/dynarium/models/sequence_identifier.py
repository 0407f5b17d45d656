"""Recurrent models that identify a system by reading it: an LSTM or a stack of diagonal state spaces, against the transformers.

One network reads past and future in one pass. Where the output before a step is known it is shown, afterwards no longer:

    y'_t = f(token_1 .. token_t),    token_t = [u_t, k_t y_{t-1}, k_t],    k_t = 1 while y_{t-1} is observed, else 0.

All that the past tells must fit into the state; in return contexts and horizons may have any length, at a cost linear in it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.models.identification import (
    Answer,
    Normalisation,
    Scale,
    check_noise_of,
    check_range_of,
    check_sizes,
    fitted_to_signals,
    gaussian_head,
)
from dynarium.models.simulation import simulation_from, simulation_loss
from dynarium.nn.state_space import StateSpaceBlock
from dynarium.types import SequenceBatch

NAME = "sequence-identifier"


@dataclass(frozen=True, kw_only=True)
class SequenceIdentifierConfig:
    """Options of the recurrent identifiers.

    Attributes:
        inputs: Channels a of the input; taken from the data when a run starts.
        outputs: Channels p of the output; taken from the data.
        cell: An LSTM (Hochreiter & Schmidhuber 1997), or diagonal state spaces (Smith et al. 2023; Orvieto et al. 2023).
        context: Steps of the past in training and in the loss; questions may have any number.
        horizon: Steps of the future, likewise.
        least_context: Training draws the past of each batch between this and ``context``; ``None``: always ``context``.
        least_horizon: Likewise for the future.
        context_noise: Training adds white noise to the past outputs, in every sequence of another deviation up to this
            number of theirs. What is to be simulated stays as it is.
        layers: Number of layers.
        width: Width d of the tokens.
        states: Complex states of each state-space layer.
        dropout: Dropout of each branch, or between the layers of the LSTM.
        probabilistic: Predict a Gaussian of each output and train by its likelihood.
        normalisation: What u and y are scaled by: mean and deviation of the past ("context"), nothing ("none"), or those of
            past and future together, which tell of the answer ("whole-trajectory-leak").
    """

    inputs: int = 1
    outputs: int = 1
    cell: Literal["lstm", "state-space"] = "state-space"
    context: int = 400
    horizon: int = 100
    least_context: int | None = None
    least_horizon: int | None = None
    context_noise: float = 0.0
    layers: int = 6
    width: int = 128
    states: int = 128
    dropout: float = 0.0
    probabilistic: bool = False
    normalisation: Normalisation = "context"

    def __post_init__(self) -> None:
        check_sizes(self, "inputs", "outputs", "context", "horizon", "layers", "width", "states")
        check_range_of(self, "context")
        check_range_of(self, "horizon")
        check_noise_of(self)

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SequenceIdentifierConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``action`` or no ``observation``.
        """
        return fitted_to_signals(self, shapes, NAME)

    def build(self) -> "SequenceIdentifier":
        """Create the model."""
        return SequenceIdentifier(self)


def lstm_identifier() -> SequenceIdentifierConfig:
    """Return the default LSTM that identifies systems."""
    return SequenceIdentifierConfig(cell="lstm", layers=3, width=256)


def state_space_identifier() -> SequenceIdentifierConfig:
    """Return the default stack of diagonal state spaces that identifies systems."""
    return SequenceIdentifierConfig(cell="state-space")


class SequenceIdentifier(nn.Module):
    """Simulates a system after reading its past. See ``SequenceIdentifierConfig`` and the module."""

    def __init__(self, config: SequenceIdentifierConfig) -> None:
        super().__init__()
        self.config = config
        d, n = config.width, config.layers
        self.embed = nn.Linear(config.inputs + config.outputs + 1, d)
        self.lstm = self.blocks = None
        if config.cell == "lstm":
            self.lstm = nn.LSTM(d, d, n, batch_first=True, dropout=config.dropout if n > 1 else 0.0)
        else:
            self.blocks = nn.Sequential(*(StateSpaceBlock(d, config.states, config.dropout) for _ in range(n)))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, config.outputs * (2 if config.probabilistic else 1))

    def forward(self, tokens: Float[Tensor, "b t q"]) -> Float[Tensor, "b t r"]:
        """Return the numbers of the last layer at every step, from tokens in the units of the model."""
        with torch.autocast(tokens.device.type, enabled=False):
            x = self.embed(tokens)
        if self.lstm is not None:
            x, _ = self.lstm(x)
        elif self.blocks is not None:
            x = self.blocks(x)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head(self.norm(x.to(tokens)))

    def predict(
        self,
        u: Float[Tensor, "b m a"],
        y: Float[Tensor, "b m p"],
        action: Float[Tensor, "b f a"],
        seen: Bool[Tensor, "b m"] | None,
        scales: tuple[Scale, Scale],
    ) -> Answer:
        """Return mean and deviation of the outputs to come, in their own units."""
        of_u, of_y = scales
        future = action.shape[1]
        known = torch.ones_like(y[..., :1]) if seen is None else seen[..., None].to(y)
        shown = F.pad(torch.cat([known * of_y.standardise(y), known], dim=-1), (0, 0, 1, future - 1))
        tokens = torch.cat([of_u.standardise(torch.cat([u, action], dim=1)), shown], dim=-1)
        return gaussian_head(self(tokens)[:, -future:], of_y, self.config.probabilistic)

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean squared error of the simulated outputs, or their mean negative log-likelihood in nats.

        See ``simulation_loss``.
        """
        return simulation_loss(self.predict, batch, self.config, self.embed.weight, self.training)

    def simulate(self, context: SequenceBatch, action: Shaped[Tensor, "b f a"]) -> Answer:
        """Return mean and deviation of the outputs that follow the context under these inputs, of any number of steps.

        A shorter sequence of a batch begins later than the others, after steps of which nothing is known.

        Raises:
            UserError: Inputs or outputs are missing, not finite, or of other channels than the model's.
        """
        return simulation_from(self.predict, context, action, self.config, self.embed.weight, bounded=False)
