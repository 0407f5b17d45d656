"""A causal transformer that predicts the next output of a system it has never met (Forgione, Pura & Piga 2023).

"From system models to class models: an in-context learning paradigm" (IEEE Control Systems Letters, arXiv:2308.13380). The
network is trained over a class of systems; the first part of a sequence tells it which of them it reads:

    y'_t = f(u_1 .. u_t, y_1 .. y_{t-1}),    token t = W [u_t, y_{t-1}] + position t.

The paper's law, ``current_input=False``, is that of systems whose input acts a step later: y'_t = f(u_1 .. u_{t-1}, ...).
With ``lags`` a token also reads the steps before its own (see the simulation transformer, which learns sooner by them).
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.models.identification import (
    Answer,
    Scale,
    check_finite,
    check_lags_of,
    check_sizes,
    fitted_to_signals,
    gaussian_head,
    lagged,
    prediction_loss,
    running_scale_of,
    scale_of,
    signals,
    unit_scale,
)
from dynarium.nn.transformer import Block, initialise_as_gpt, rotary_angles
from dynarium.types import SequenceBatch

NAME = "one-step-transformer"


@dataclass(frozen=True, kw_only=True)
class OneStepTransformerConfig:
    """Options of the one-step transformer; the defaults are the paper's medium model (2.44 million parameters).

    Attributes:
        inputs: Channels a of the input; taken from the data when a run starts.
        outputs: Channels p of the output; taken from the data.
        steps: Longest sequence that the model reads.
        layers: Number of layers.
        heads: Heads of each attention.
        width: Width d of the tokens.
        bias: Norms, attentions and MLPs have biases.
        dropout: Dropout of tokens, attention weights and branches.
        positions: Learned vectors added to the tokens, or rotary positions (Su et al. 2021).
        lags: Steps before its own that a token also reads; the published tokens read one step. See the module.
        current_input: y'_t knows u_t. Without it y'_t knows the inputs before it only, as in the paper.
        probabilistic: Predict a Gaussian of each output and train by its likelihood (Rufolo et al. 2024, arXiv:2410.03291).
        normalisation: What u and y are scaled by. "past": at every step by mean and deviation of what has been seen up to
            then, so that nothing is known that a user would not know. "none": the data has its scale already.
            "whole-trajectory-leak": by those of the whole sequence, which tell of outputs to come; only to compare with
            published numbers.
        burn_in: First steps whose errors do not count in the loss: the system is not known yet.
    """

    inputs: int = 1
    outputs: int = 1
    steps: int = 600
    layers: int = 12
    heads: int = 4
    width: int = 128
    bias: bool = False
    dropout: float = 0.0
    positions: Literal["learned", "rotary"] = "learned"
    lags: int = 0
    current_input: bool = True
    probabilistic: bool = False
    normalisation: Literal["past", "none", "whole-trajectory-leak"] = "past"
    burn_in: int = 0

    def __post_init__(self) -> None:
        check_sizes(self, "inputs", "outputs", "steps", "layers", "heads", "width")
        check_lags_of(self)
        if not 0 <= self.burn_in < self.steps:
            raise UserError(f"model.burn_in: expected 0 .. {self.steps - 1}, got {self.burn_in}")

    def fitted(self, shapes: dict[str, tuple[int, ...]]) -> "OneStepTransformerConfig":
        """Return the configuration for data of these shapes.

        Raises:
            UserError: The data has no ``action`` or no ``observation``.
        """
        return fitted_to_signals(self, shapes, NAME)

    def build(self) -> "OneStepTransformer":
        """Create the model."""
        return OneStepTransformer(self)


class OneStepTransformer(nn.Module):
    """Predicts every output from the inputs up to it and the outputs before it. See ``OneStepTransformerConfig``."""

    def __init__(self, config: OneStepTransformerConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.embed = nn.Linear((config.lags + 1) * (config.inputs + config.outputs), d)
        self.position = nn.Embedding(config.steps, d) if config.positions == "learned" else None
        self.blocks = nn.ModuleList(
            Block(d, config.heads, causal=True, bias=config.bias, dropout=config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(d, bias=config.bias)
        self.head = nn.Linear(d, config.outputs * (2 if config.probabilistic else 1))
        initialise_as_gpt(self, 2 * config.layers)

    def forward(self, tokens: Float[Tensor, "b t q"]) -> Float[Tensor, "b t r"]:
        """Return the numbers of the last layer at every step, from tokens [u_t, y_{t-1}] in the units of the model."""
        t = tokens.shape[1]
        # Signals enter and leave in full precision: three digits of bfloat16 are fewer than the model predicts.
        with torch.autocast(tokens.device.type, enabled=False):
            x = self.embed(lagged(tokens, self.config.lags).flatten(2))
        angle = None
        if self.position is not None:
            x = x + self.position.weight[:t]
        else:
            angle = rotary_angles(torch.arange(t, device=x.device), self.config.width // self.config.heads)
        x = F.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x, angle=angle)
        with torch.autocast(tokens.device.type, enabled=False):
            return self.head(self.norm(x.to(tokens)))

    def predict(
        self, u: Float[Tensor, "b t a"], y: Float[Tensor, "b t p"], seen: Bool[Tensor, "b t"] | None = None
    ) -> Answer:
        """Return mean and deviation of every output in its own units; y is 0 where hidden.

        Raises:
            UserError: There are more steps than the model reads.
        """
        if u.shape[1] > self.config.steps:
            raise UserError(f"observation: at most the model's {self.config.steps} steps wanted, got {u.shape[1]}")
        of_u, of_y, before = self._scales(u, y, seen)
        u = of_u.standardise(u)
        # At step t the past output is y_{t-1} in the scale of y_1 .. y_{t-1}: one step delays both.
        y = of_y.standardise(y) if seen is None else torch.where(seen[..., None], of_y.standardise(y), 0)
        tokens = torch.cat([u if self.config.current_input else _delayed(u, 0), _delayed(y, 0)], dim=-1)
        return gaussian_head(self(tokens), before, self.config.probabilistic)

    def _scales(self, u: Tensor, y: Tensor, seen: Tensor | None) -> tuple[Scale, Scale, Scale]:
        """Return the scales of inputs, of outputs once they are known, and of outputs to be predicted."""
        match self.config.normalisation:
            case "past":
                of_y = running_scale_of(y, seen)
                before = Scale(mean=_delayed(of_y.mean, 0), deviation=_delayed(of_y.deviation, 1))
                return running_scale_of(u), of_y, before
            case "none":
                return unit_scale(u), unit_scale(y), unit_scale(y)
            case "whole-trajectory-leak":
                return scale_of(u), (of_y := scale_of(y, seen)), of_y

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the mean squared error of one-step predictions, or their mean negative log-likelihood in nats.

        In units of the deviation of each sequence's outputs, over what is observed after ``burn_in``. Of longer sequences than
        the model reads, training takes a random window and evaluation the first one.
        """
        u, y, seen = signals(batch, self.config.inputs, self.config.outputs, self.embed.weight)
        spare = u.shape[1] - self.config.steps
        if spare > 0:
            start = int(torch.randint(spare + 1, ())) if self.training else 0
            window = slice(start, start + self.config.steps)
            u, y, seen = u[:, window], y[:, window], None if seen is None else seen[:, window]
        mean, deviation = self.predict(u, y, seen)
        unit, after = scale_of(y, seen).deviation, slice(self.config.burn_in, None)
        counted = (mean[:, after], None if deviation is None else deviation[:, after])
        return prediction_loss(counted, y[:, after], unit, None if seen is None else seen[:, after])

    @torch.no_grad()
    def predict_next(self, batch: SequenceBatch) -> Answer:
        """Return mean and deviation of every output given inputs up to its step and outputs before it.

        Raises:
            UserError: Inputs or outputs are missing, not finite, of other channels than the model's, or of more steps.
        """
        u, y, seen = signals(batch, self.config.inputs, self.config.outputs, self.embed.weight)
        check_finite(action=u, observation=y)
        return self.predict(u, y, seen)


def _delayed(x: Float[Tensor, "b t d"], first: float) -> Float[Tensor, "b t d"]:
    """Return x a step later, with ``first`` at the first step."""
    return F.pad(x[:, :-1], (0, 0, 1, 0), value=first)
