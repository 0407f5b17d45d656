"""Pre-norm transformer blocks (Vaswani et al. 2017; norms before the branches: Xiong et al. 2020) on fused attention.

    x <- x + Attention(LN(x)),    x <- x + Attention(LN(x), memory),    x <- x + W_2 gelu(W_1 LN(x)),

the second of them in a decoder only. Attention(q, k, v) = softmax(q k^T / sqrt(e)) v is PyTorch's fused kernel, which never
forms the weights as a tensor of their own; training in bfloat16 on the CPU, where that kernel is slow, it is ours.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.nn.chunked_attention import chunked_attention


def rotary_angles(position: Shaped[Tensor, " t"], width: int, base: float = 10_000.0) -> Float[Tensor, "t e"]:
    """Return the angles by which the ``width / 2`` planes of a head turn at each position (Su et al. 2021, eq. 15).

    Plane i turns by ``position / base ** (2 i / width)`` radians. Positions may be negative.
    """
    frequency = base ** (-torch.arange(0, width, 2, device=position.device, dtype=torch.float64) / width)
    return position[:, None].double() * frequency


def rotate(x: Float[Tensor, "b h t w"], angle: Float[Tensor, "t e"]) -> Float[Tensor, "b h t w"]:
    """Turn the planes (i, i + w/2) of x by their angles: then q . k depends on the difference of positions only."""
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)


class Attention(nn.Module):
    """Multi-head attention of a sequence to itself, or of a sequence to a memory.

    Attributes:
        width: Width d of the tokens.
        heads: Number of heads, each of width d / heads.
        cross: Keys and values come from a memory.
        causal: A token sees itself and those before it.
        bias: The linear maps have biases.
        dropout: Probability with which a weight, and an element of the result, is dropped in training.

    Raises:
        UserError: ``width`` is no multiple of ``heads``.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        cross: bool = False,
        causal: bool = False,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.width: expected a multiple of the {heads} heads, got {width}")
        self.heads, self.causal, self.dropout = heads, causal, dropout
        # One product for queries, keys and values where all three are maps of the same tokens.
        self.query = nn.Linear(width, width, bias) if cross else None
        self.mixed = nn.Linear(width, (2 if cross else 3) * width, bias)
        self.out = nn.Linear(width, width, bias)
        for linear in (self.query, self.mixed):
            if linear is not None:
                nn.init.uniform_(linear.weight, -math.sqrt(1.5 / width), math.sqrt(1.5 / width))
        for linear in (self.query, self.mixed, self.out):
            if linear is not None and linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        memory: Float[Tensor, "b s d"] | None = None,
        visible: Bool[Tensor, "b s"] | None = None,
        angle: Float[Tensor, "t e"] | None = None,
        memory_angle: Float[Tensor, "s e"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Return what each token gathers.

        Args:
            x: Tokens that ask.
            memory: Tokens that are asked; with ``cross`` only.
            visible: Which of the asked tokens can be seen; ``None``: all. At least one of a sequence.
            angle: Rotary angles of ``x``; ``None``: positions are in the tokens.
            memory_angle: Rotary angles of ``memory``.
        """
        if self.query is None:
            q, k, v = (self._split(part) for part in self.mixed(x).chunk(3, dim=-1))
            memory_angle = angle
        else:
            q = self._split(self.query(x))
            k, v = (self._split(part) for part in self.mixed(memory).chunk(2, dim=-1))
        if angle is not None and memory_angle is not None:
            q, k = rotate(q, angle), rotate(k, memory_angle)
        dropped = self.dropout if self.training else 0.0
        mask = None if visible is None else visible[:, None, None, :]
        if q.device.type == "cpu" and q.dtype == torch.bfloat16 and q.requires_grad and mask is None and not dropped:
            gathered = chunked_attention(q, k, v, causal=self.causal)
        else:
            gathered = F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropped, is_causal=self.causal)
        return F.dropout(self.out(gathered.transpose(1, 2).flatten(2)), self.dropout, self.training)

    def _split(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b h t w"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class MLP(nn.Module):
    """W_2 gelu(W_1 x), four times as wide inside, with the exact GELU (Hendrycks & Gimpel 2016)."""

    def __init__(self, width: int, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        self.inner, self.out, self.dropout = (
            nn.Linear(width, 4 * width, bias),
            nn.Linear(4 * width, width, bias),
            dropout,
        )

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Return the image of every token."""
        return F.dropout(self.out(F.gelu(self.inner(x))), self.dropout, self.training)


class Block(nn.Module):
    """One layer of a transformer; the module's docstring has its equations.

    Attributes:
        width: Width d of the tokens.
        heads: Number of heads.
        causal: A token sees itself and those before it.
        cross: The layer also attends to a memory.
        bias: Norms and attentions have biases.
        mlp_bias: So has the MLP; ``None``: as ``bias``.
        dropout: Dropout of attention weights and of each branch.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        causal: bool = False,
        cross: bool = False,
        bias: bool = True,
        mlp_bias: bool | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm_self = nn.LayerNorm(width, bias=bias)
        self.attention = Attention(width, heads, causal=causal, bias=bias, dropout=dropout)
        self.norm_cross = nn.LayerNorm(width, bias=bias) if cross else None
        self.cross = Attention(width, heads, cross=True, bias=bias, dropout=dropout) if cross else None
        self.norm_mlp = nn.LayerNorm(width, bias=bias)
        self.mlp = MLP(width, bias=bias if mlp_bias is None else mlp_bias, dropout=dropout)

    def forward(
        self,
        x: Float[Tensor, "b t d"],
        visible: Bool[Tensor, "b r"] | None = None,
        angle: Float[Tensor, "t e"] | None = None,
        memory: Float[Tensor, "b s d"] | None = None,
        memory_angle: Float[Tensor, "s e"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Return the tokens after this layer. ``visible`` speaks of the memory where there is one, else of ``x``."""
        own = visible if self.cross is None else None
        x = x + self.attention(self.norm_self(x), visible=own, angle=angle)
        if self.cross is not None and self.norm_cross is not None:
            x = x + self.cross(self.norm_cross(x), memory, visible, angle, memory_angle)
        return x + self.mlp(self.norm_mlp(x))


def initialise_as_gpt(model: nn.Module, branches: int) -> None:
    """Draw all weights from N(0, 0.02^2), those that end one of the ``branches`` from N(0, 0.02^2 / branches); biases 0.

    The initialisation of GPT-2 (Radford et al. 2019, section 2.3): the residual stream starts equally large at any depth.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if isinstance(module, Attention | MLP):
            nn.init.normal_(module.out.weight, std=0.02 / math.sqrt(branches))
