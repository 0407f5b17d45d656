"""A network that corrects classical identification: it reads what output-error models leave unexplained.

Linear models of several orders are fitted to the past of every sequence and simulated over past and future. They are averaged
with Akaike's weights (Burnham & Anderson 2002, section 2.9), with s the root mean squared error that the average leaves in the
past; the network sees the past residual and says how it goes on:

    y'_t = base_t + s f(u, base, simulations; (y - base) / s of the past)_t.

f is one of the simulating networks. Its last layer starts at 0, so that training starts from the classical answer, and what
linear models explain exactly needs no learning.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.identification import Answer, Scale, check_counts, fitted_to_signals, unit_scale
from dynarium.models.sequence_identifier import SequenceIdentifierConfig
from dynarium.models.simulation import simulation_from, simulation_loss
from dynarium.models.simulation_transformer import SimulationTransformerConfig
from dynarium.ssm.averaging import averaged_output_error
from dynarium.types import SequenceBatch

NAME = "residual-identifier"


@dataclass(frozen=True, kw_only=True)
class ResidualIdentifierConfig:
    """Options of the network that corrects classical identification.

    Attributes:
        network: What corrects; its numbers of inputs and outputs are filled in. Lengths, noise and outputs are its own options.
        orders: Orders of the output-error models.
        iterations: Iterations of each fit.
        inputs: Channels a of the input; taken from the data when a run starts.
        outputs: Channels p of the output; taken from the data.
    """

    network: SimulationTransformerConfig | SequenceIdentifierConfig = field(
        default_factory=lambda: SequenceIdentifierConfig(cell="lstm", layers=2, width=128)
    )
    orders: tuple[int, ...] = (3, 6, 10)
    iterations: int = 4
    inputs: int = 1
    outputs: int = 1

    def __post_init__(self) -> None:
        check_counts(self, "inputs", "outputs", "iterations")
        if not self.orders or min(self.orders) < 1:
            raise UserError(f"model.orders: expected numbers of at least 1, got {self.orders}")

    @property
    def context(self) -> int:
        """Steps of the past."""
        return self.network.context

    @property
    def horizon(self) -> int:
        """Steps of the future."""
        return self.network.horizon

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "ResidualIdentifierConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``action`` or no ``observation``.
        """
        return fitted_to_signals(self, shapes, NAME)

    def build(self) -> "ResidualIdentifier":
        """Create the model."""
        return ResidualIdentifier(self)


class ResidualIdentifier(nn.Module):
    """Simulates a system by classical models and a network. See ``ResidualIdentifierConfig`` and the module."""

    def __init__(self, config: ResidualIdentifierConfig) -> None:
        super().__init__()
        self.config = config
        self.asked = replace(config.network, inputs=config.inputs, outputs=config.outputs)
        # u, the average, every model, and the logarithm of what the average leaves.
        channels = config.inputs + (2 + len(config.orders)) * config.outputs
        self.network = replace(config.network, inputs=channels, outputs=config.outputs).build()
        nn.init.zeros_(self.network.head.weight)
        nn.init.zeros_(self.network.head.bias)

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
        m, driving = u.shape[1], of_u.standardise(torch.cat([u, action], dim=1))
        past = of_y.standardise(y)
        found = averaged_output_error(driving, past, self.config.orders, self.config.iterations, seen)
        base, error = found.mean.to(y), found.error.to(y)
        known = torch.cat([driving, base, found.simulations.to(y), error.log().expand_as(base)], dim=-1)
        units = (unit_scale(known), unit_scale(y))
        residual = (past - base[:, :m]) / error
        mean, deviation = self.network.predict(known[:, :m], residual, known[:, m:], seen, units)
        answer = of_y.restore(base[:, m:] + error * mean)
        return answer, None if deviation is None else of_y.deviation * error * deviation

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean squared error of the simulated outputs, or their mean negative log-likelihood in nats.

        See ``simulation_loss``.
        """
        return simulation_loss(self.predict, batch, self.asked, self.network.head.weight, self.training)

    def simulate(self, context: SequenceBatch, action: Shaped[Tensor, "b f a"]) -> Answer:
        """Return mean and deviation of the outputs that follow the context under these inputs.

        Raises:
            UserError: Inputs or outputs are missing, not finite, of other channels than the model's, or of more steps than
                the network reads.
        """
        bounded = isinstance(self.config.network, SimulationTransformerConfig)
        return simulation_from(self.predict, context, action, self.asked, self.network.head.weight, bounded=bounded)
