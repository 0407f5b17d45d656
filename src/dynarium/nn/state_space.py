"""Linear state spaces with diagonal dynamics (Smith, Warrington & Linderman 2023, S5; Orvieto et al. 2023, LRU)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor, nn

MOST_PHASE = math.pi / 2
"""The fastest oscillation that a fresh state has, in radians a step; training may leave it."""


def linear_recurrence(decay: Complex[Tensor, " n"], x: Complex[Tensor, "b t n"]) -> Complex[Tensor, "b t n"]:
    """Return s_t = decay s_{t-1} + x_t, s before the first step being 0, in about log2 t parallel passes.

    After k passes entry t holds the sum over j < 2^k of ``decay^j x_{t-j}`` (Hillis & Steele 1986). |decay| <= 1.
    """
    step = 1
    while step < x.shape[1]:
        x = x + F.pad(decay * x[:, :-step], (0, 0, step, 0))
        step, decay = 2 * step, decay * decay
    return x


class DiagonalStateSpace(nn.Module):
    """y_t = Re(C s_t) + D x_t, s_t = diag(lambda) s_{t-1} + gamma B x_t, with complex states (Orvieto et al. 2023, eq. 5-7).

    lambda = exp(-exp(nu) + i exp(theta)) is stable for all parameters, and gamma = sqrt(1 - |lambda|^2) keeps the states as
    large as their inputs however slow they are.

    Attributes:
        width: Width d of inputs and outputs.
        states: Number n of complex states.
        slowest: Largest |lambda| of a fresh layer; the smallest is 0.5. They are uniform on that ring.
    """

    def __init__(self, width: int, states: int, slowest: float = 0.999) -> None:
        super().__init__()
        magnitude = (torch.rand(states) * (slowest**2 - 0.25) + 0.25).sqrt()
        self.log_decay = nn.Parameter((-magnitude.log()).log())
        self.log_phase = nn.Parameter((MOST_PHASE * torch.rand(states).clamp(min=1e-3)).log())
        self.enter, self.leave = nn.Linear(width, 2 * states, bias=False), nn.Linear(2 * states, width, bias=False)
        self.direct = nn.Parameter(torch.randn(width))

    def eigenvalues(self) -> Complex[Tensor, " n"]:
        """Return lambda."""
        return torch.polar((-self.log_decay.exp()).exp(), self.log_phase.exp())

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Return the outputs at every step, from a state of 0."""
        eigenvalues = self.eigenvalues()
        gain = (1 - eigenvalues.abs().square()).sqrt()
        real, imaginary = self.enter(x).to(gain.dtype).chunk(2, dim=-1)
        states = linear_recurrence(eigenvalues, torch.complex(gain * real, gain * imaginary))
        return self.leave(torch.cat([states.real, states.imag], dim=-1)) + self.direct * x


class StateSpaceBlock(nn.Module):
    """x <- x + GLU(W gelu(S(LN(x)))), S a diagonal state space (Smith et al. 2023, section 3.3)."""

    def __init__(self, width: int, states: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm, self.dynamics = nn.LayerNorm(width), DiagonalStateSpace(width, states)
        self.mix, self.dropout = nn.Linear(width, 2 * width), dropout

    def forward(self, x: Float[Tensor, "b t d"]) -> Float[Tensor, "b t d"]:
        """Return the tokens after this layer; each has seen those before it."""
        branch = F.glu(self.mix(F.gelu(self.dynamics(self.norm(x)))), dim=-1)
        return x + F.dropout(branch, self.dropout, self.training)
