"""An encoder-decoder transformer that simulates a system it has never met (Forgione, Pura & Piga 2023, arXiv:2308.13380).

The encoder reads inputs and outputs of the past, the decoder the inputs to come, and all outputs to come leave at once:

    memory = Encoder([u_1, y_1] .. [u_m, y_m]),    y'_{m+1} .. y'_{m+h} = Decoder(u_{m+1} .. u_{m+h}; memory),

with a causal decoder. No output is ever fed back. For long pasts the encoder reads patches of steps: each a linear map of
its steps (Nie et al. 2023) or the last state of a recurrent network over them (Rufolo et al. 2024, arXiv:2410.03291).

A token of one step says nothing of how an output follows from what was before; attention has to gather that first, and for
thousands of steps of training nothing is learned. With ``lags`` a token reads the steps before its own, too, as through a
short convolution (Fu et al. 2023, arXiv:2212.14052): what classical identification regresses on stands in one token.
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
    check_lags_of,
    check_noise_of,
    check_range_of,
    check_sizes,
    fitted_to_signals,
    gaussian_head,
    lagged,
)
from dynarium.models.simulation import simulation_from, simulation_loss
from dynarium.nn.transformer import Block, initialise_as_gpt, rotary_angles
from dynarium.types import SequenceBatch

NAME = "simulation-transformer"


@dataclass(frozen=True, kw_only=True)
class SimulationTransformerConfig:
    """Options of the simulation transformer; the defaults are the paper's model (5.6 million parameters).

    Attributes:
        inputs: Channels a of the input; taken from the data when a run starts.
        outputs: Channels p of the output; taken from the data.
        context: Longest past m that the model reads; the past of every sequence in evaluation.
        horizon: Longest future h that it simulates.
        least_context: Training draws the past of each batch between this and ``context``; ``None``: always ``context``.
        least_horizon: Likewise for the future.
        context_noise: Training adds white noise to the past outputs, in every sequence of another deviation up to this
            number of theirs. What is to be simulated stays as it is.
        layers: Layers of the encoder, and of the decoder.
        heads: Heads of each attention.
        width: Width d of the tokens.
        bias: Norms and attentions have biases.
        mlp_bias: MLPs have biases; the published ones never have.
        dropout: Dropout of tokens, attention weights and branches.
        positions: Learned vectors added to the tokens, or rotary ones (Su et al. 2021) on one time axis for past and future.
        patch: Steps of a token of the past.
        lags: Steps before its own that a token also reads, in the future those of the input; the published tokens read
            none. See the module.
        patching: How the steps of a patch become a token; with one step of a patch the two differ little.
        probabilistic: Predict a Gaussian of each output and train by its likelihood (Rufolo et al. 2024).
        normalisation: What u and y are scaled by. "context": mean and deviation of the past. "none": the data has its scale
            already. "whole-trajectory-leak": those of past and future together, which tell of the answer; only to compare
            with published numbers.
        initialisation: PyTorch's (the paper's), or GPT-2's.
    """

    inputs: int = 1
    outputs: int = 1
    context: int = 400
    horizon: int = 100
    least_context: int | None = None
    least_horizon: int | None = None
    context_noise: float = 0.0
    layers: int = 12
    heads: int = 4
    width: int = 128
    bias: bool = False
    mlp_bias: bool = False
    dropout: float = 0.0
    positions: Literal["learned", "rotary"] = "learned"
    patch: int = 1
    lags: int = 0
    patching: Literal["linear", "recurrent"] = "linear"
    probabilistic: bool = False
    normalisation: Normalisation = "context"
    initialisation: Literal["torch", "gpt"] = "torch"

    def __post_init__(self) -> None:
        check_sizes(self, "inputs", "outputs", "context", "horizon", "layers", "heads", "width", "patch")
        check_lags_of(self)
        check_range_of(self, "context")
        check_range_of(self, "horizon")
        check_noise_of(self)

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "SimulationTransformerConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``action`` or no ``observation``.
        """
        return fitted_to_signals(self, shapes, NAME)

    def build(self) -> "SimulationTransformer":
        """Create the model."""
        return SimulationTransformer(self)


class SimulationTransformer(nn.Module):
    """Simulates a system from its past and the inputs to come. See ``SimulationTransformerConfig`` and the module."""

    def __init__(self, config: SimulationTransformerConfig) -> None:
        super().__init__()
        self.config = config
        d, learned = config.width, config.positions == "learned"
        self.embed_context = Patches(config.inputs + config.outputs, d, config.patch, config.lags, config.patching)
        self.embed_query = nn.Linear((config.lags + 1) * config.inputs, d)
        patches = -(-config.context // config.patch)
        self.position_context = nn.Embedding(patches, d) if learned else None
        self.position_query = nn.Embedding(config.horizon, d) if learned else None

        def stack(decoder: bool) -> nn.ModuleList:
            options = {"bias": config.bias, "mlp_bias": config.mlp_bias, "dropout": config.dropout}
            blocks = (Block(d, config.heads, causal=decoder, cross=decoder, **options) for _ in range(config.layers))
            return nn.ModuleList(blocks)

        self.encoder, self.decoder = stack(decoder=False), stack(decoder=True)
        self.norm_memory = nn.LayerNorm(d, bias=config.bias)
        self.norm = nn.LayerNorm(d, bias=config.bias)
        self.head = nn.Linear(d, config.outputs * (2 if config.probabilistic else 1))
        if config.initialisation == "gpt":
            initialise_as_gpt(self, 3 * config.layers)

    def encode(
        self, past: Float[Tensor, "b t q"], seen: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Float[Tensor, "b m d"], Bool[Tensor, "b m"] | None]:
        """Return the memory of a past [u_t, y_t] in the model's units, 0 where hidden, and which tokens are visible."""
        x, visible = self.embed_context(past, seen)
        m, angle = x.shape[1], None
        if self.position_context is not None:
            # The last tokens have the last positions: whatever the length of the past, the future follows them.
            x = x + self.position_context.weight[-m:]
        else:
            angle = self._angle_context(m, x.device)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.encoder:
            x = block(x, visible=visible, angle=angle)
        return self.norm_memory(x), visible

    def decode(
        self,
        query: Float[Tensor, "b f q"],
        memory: Float[Tensor, "b m d"],
        visible: Bool[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b f r"]:
        """Return the numbers of the last layer for the inputs to come with those before them, in the model's units."""
        with torch.autocast(query.device.type, enabled=False):
            x = self.embed_query(query)
        angle = memory_angle = None
        if self.position_query is not None:
            x = x + self.position_query.weight[: x.shape[1]]
        else:
            angle = rotary_angles(torch.arange(x.shape[1], device=x.device), self._head_width)
            memory_angle = self._angle_context(memory.shape[1], x.device)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.decoder:
            x = block(x, visible, angle, memory, memory_angle)
        with torch.autocast(query.device.type, enabled=False):
            return self.head(self.norm(x.to(query)))

    @property
    def _head_width(self) -> int:
        return self.config.width // self.config.heads

    def _angle_context(self, m: int, device: torch.device) -> Float[Tensor, "m e"]:
        """Return the angles of the past's tokens: each stands at its last step, and the future begins at 0."""
        last = (torch.arange(m, device=device) - m + 1) * self.config.patch - 1
        return rotary_angles(last, self._head_width)

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
        past = torch.cat([of_u.standardise(u), of_y.standardise(y)], dim=-1)
        past = past if seen is None else torch.where(seen[..., None], past, 0)
        memory, visible = self.encode(past, seen)
        inputs = torch.cat([past[..., : u.shape[-1]], of_u.standardise(action)], dim=1)
        query = lagged(inputs, self.config.lags)[:, u.shape[1] :].flatten(2)
        return gaussian_head(self.decode(query, memory, visible), of_y, self.config.probabilistic)

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean squared error of the simulated outputs, or their mean negative log-likelihood in nats.

        See ``simulation_loss``.
        """
        return simulation_loss(self.predict, batch, self.config, self.embed_query.weight, self.training)

    def simulate(self, context: SequenceBatch, action: Shaped[Tensor, "b f a"]) -> Answer:
        """Return mean and deviation of the outputs that follow the context under these inputs.

        Raises:
            UserError: Inputs or outputs are missing, not finite, of other channels than the model's, or of more steps.
        """
        return simulation_from(self.predict, context, action, self.config, self.embed_query.weight, bounded=True)


class Patches(nn.Module):
    """Tokens of ``patch`` steps and the ``lags`` before: a linear map of them, or a recurrent network's last state."""

    def __init__(
        self, channels: int, width: int, patch: int, lags: int, patching: Literal["linear", "recurrent"]
    ) -> None:
        super().__init__()
        self.patch, self.lags = patch, lags
        recurrent = patching == "recurrent"
        self.recurrent = nn.GRU(channels, width, batch_first=True) if recurrent else None
        self.linear = nn.Linear(width if recurrent else channels * (patch + lags), width)

    def forward(
        self, x: Float[Tensor, "b t q"], seen: Bool[Tensor, "b t"] | None = None
    ) -> tuple[Float[Tensor, "b m d"], Bool[Tensor, "b m"] | None]:
        """Return the tokens, of steps that are 0 where hidden, and which of them hold one that is seen (``None``: all).

        The last patch ends with the last step; the first one is filled up with zeros in front.
        """
        fill = -x.shape[1] % self.patch
        if seen is not None:
            seen = F.pad(seen, (fill, 0)).unflatten(1, (-1, self.patch)).any(2)
            # Attention to nothing has no answer: a sequence of which nothing is seen keeps an empty last token.
            seen[:, -1] |= ~seen.any(1)
        patches = lagged(F.pad(x, (0, 0, fill, 0)), self.lags, self.patch)
        # Signals enter in full precision: three digits of bfloat16 are fewer than the model predicts.
        with torch.autocast(x.device.type, enabled=False):
            if self.recurrent is None:
                return self.linear(patches.flatten(2)), seen
            _, last = self.recurrent(patches.flatten(0, 1))
            return self.linear(last[0].unflatten(0, patches.shape[:2])), seen
