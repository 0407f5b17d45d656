"""A Wiener-Hammerstein model fitted to each sequence by gradient descent, many sequences and restarts at once.

y = G2 F(G1 u) with linear dynamics G, transfer functions trained by their parameters, and a small network F between them
(dynoNet: Forgione & Piga 2021, arXiv:2104.02250). Here a transfer function is a sum of damped modes, stable for all parameters.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.tasks.identifiers import Answer, Inputs, Outputs

_MOST_SKIPPED = 100


@dataclass(frozen=True, kw_only=True)
class FittedWienerHammerstein:
    """G1 - tanh network - G2 of one input and one output, by Adam on the mean squared simulated output.

    Linear dynamics have ``modes`` pairs of poles and a feed-through: y_t = d u_t + sum_k h_k u_(t-k) with
    h_k = sum_j Re(c_j lambda_j^(k-1)) and |lambda_j| < 1. Sequences begin at rest; the first quarter of the context (at most
    100 steps), where that is wrong, does not count. Of several restarts the one with the least error counts.

    Attributes:
        modes: Pairs of poles of each linear part.
        hidden: Hidden units of the network.
        steps: Steps of Adam.
        restarts: Fits from different first values.
        learning_rate: Its first value; it falls to 0 along half a cosine.
        seed: Seed of the first values.
    """

    modes: int = 3
    hidden: int = 32
    steps: int = 2000
    restarts: int = 4
    learning_rate: float = 1e-2
    seed: int = 0

    def simulate(self, u: Inputs, y: Outputs, action: Float[Tensor, "b f a"]) -> Answer:
        """Return the simulated outputs after the context.

        Raises:
            UserError: There are several inputs or outputs.
        """
        if u.shape[2] > 1 or y.shape[2] > 1:
            raise UserError(
                f"identify: wiener-hammerstein fits one input and one output, got {u.shape[2]} and {y.shape[2]}"
            )
        known = u.shape[1]
        middle, scale = y.mean(1, keepdim=True), y.std(1, keepdim=True)
        of_u, spread = u.mean(1, keepdim=True), u.std(1, keepdim=True)
        inputs = (((torch.cat([u, action], 1) - of_u) / spread)[..., 0]).float().repeat(self.restarts, 1)
        target = ((y - middle) / scale)[..., 0].float().repeat(self.restarts, 1)
        parameters, error = self._fitted(inputs[:, :known], target)
        with torch.no_grad():
            found = _answer(parameters, inputs)[:, known:].double().unflatten(0, (self.restarts, len(u)))
        best = error.unflatten(0, (self.restarts, len(u))).argmin(0)
        taken = found[best, torch.arange(len(u))]
        return middle + scale * taken[..., None], None

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> None:
        """Return nothing: without a model of the noise it only simulates."""

    @torch.enable_grad()
    def _fitted(
        self, u: Float[Tensor, "r t"], y: Float[Tensor, "r t"]
    ) -> tuple[dict[str, Tensor], Float[Tensor, " r"]]:
        """Return the parameters of every row and their errors."""
        parameters = self._drawn(len(u))
        optimiser = torch.optim.Adam(parameters.values(), lr=self.learning_rate, betas=(0.9, 0.99))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
        first = min(_MOST_SKIPPED, u.shape[1] // 4)
        for _ in range(self.steps):
            optimiser.zero_grad()
            # Rows have nothing in common but the optimiser, which treats every number by itself: the sum fits each alone.
            _error(parameters, u, y, first).sum().backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            return parameters, _error(parameters, u, y, first).nan_to_num(torch.inf)

    def _drawn(self, rows: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int, scale: float = 1.0) -> Tensor:
            return scale * torch.randn(rows, *shape, generator=generator)

        parameters = {"w1": normal(self.hidden), "b1": normal(self.hidden), "w2": normal(self.hidden, scale=0.3)}
        parameters["b2"] = normal(1, scale=0.1)
        for block in ("g1", "g2"):
            magnitude = 0.4 + 0.55 * torch.rand(rows, self.modes, generator=generator)
            parameters[f"{block}.decay"] = (-magnitude.log()).log()
            parameters[f"{block}.phase"] = torch.pi / 2 * torch.rand(rows, self.modes, generator=generator)
            parameters |= {f"{block}.{part}": normal(self.modes, scale=0.3) for part in ("real", "imaginary")}
            parameters[f"{block}.direct"] = normal(1, scale=0.3)
        return {name: value.requires_grad_() for name, value in parameters.items()}


def _error(parameters: dict[str, Tensor], u: Tensor, y: Tensor, first: int) -> Float[Tensor, " r"]:
    return (_answer(parameters, u) - y)[:, first:].square().mean(1)


def _answer(parameters: dict[str, Tensor], u: Float[Tensor, "r t"]) -> Float[Tensor, "r t"]:
    """Return y = G2 F(G1 u) of every row."""
    x = _filtered(parameters, "g1", u)
    w1, b1, w2 = (parameters[name] for name in ("w1", "b1", "w2"))
    units = (x[..., None] * w1[:, None] + b1[:, None]).tanh()
    return _filtered(parameters, "g2", (units @ w2[..., None])[..., 0] + parameters["b2"])


def _filtered(parameters: dict[str, Tensor], block: str, u: Float[Tensor, "r t"]) -> Float[Tensor, "r t"]:
    """Return the response of a row's linear part from rest, by the product of spectra."""
    decay, phase, real, imaginary, direct = (
        parameters[f"{block}.{name}"] for name in ("decay", "phase", "real", "imaginary", "direct")
    )
    steps = u.shape[1]
    k = torch.arange(steps - 1)
    size = torch.exp(-decay.exp()[..., None] * k)
    angle = phase[..., None] * k
    impulse = (size * (real[..., None] * angle.cos() - imaginary[..., None] * angle.sin())).sum(1)
    impulse = torch.cat([direct, impulse], 1)
    length = 2 * steps
    return torch.fft.irfft(torch.fft.rfft(impulse, length) * torch.fft.rfft(u, length), length)[:, :steps]
