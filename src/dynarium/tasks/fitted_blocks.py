"""A Wiener-Hammerstein model fitted to each sequence by Levenberg and Marquardt, many sequences and restarts at once.

    x = B1(q) / A1(q) u,    z = c_0 + c_1 x + sum_j c_j tanh((x - o_j) / w),    y = B2(q) / A2(q) z.

The slope of y in every parameter is a filtered signal: in the second part's numerator z/A2, delayed; in its denominator y/A2,
delayed; in c_j the j-th unit filtered by B2/A2; in the first part dz/dx times the like signals of x, filtered by B2/A2. All of
a row are filtered side by side. The published fit of this structure, by Adam with 20 restarts (Forgione, Pura & Piga 2023),
takes a minute a system.
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dynarium.errors import UserError
from dynarium.ssm.rational import all_pole, bounded, impulse, lags, solution
from dynarium.tasks.identifiers import Answer, Inputs, Outputs

ROWS = 512
"""Fits at a time: their slopes are some hundred megabytes."""


@dataclass(frozen=True, kw_only=True)
class FittedWienerHammerstein:
    """Linear, static, linear, of one input and one output, to the least squared simulated output; both states begin free.

    Fits from several first values are averaged with weights proportional to (mean squared error)^(-N/2), N the steps of the
    context: Akaike's for equal numbers of parameters (Burnham & Anderson 2002, section 2.9). The deviation is that of an output
    as it would be measured.

    Attributes:
        order: Poles of each linear part.
        units: Hyperbolic tangents of the static part, besides a constant and a line.
        steps: Steps of Levenberg and Marquardt.
        restarts: Fits from different first values.
        kept: After a quarter of the steps so many go on, those of the least error.
        seed: Seed of the first values.
    """

    order: int = 5
    units: int = 11
    steps: int = 50
    restarts: int = 32
    kept: int = 8
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
        m, inputs = u.shape[1], torch.cat([u, action], 1)
        at_once, parts = max(1, ROWS // self.restarts), []
        for some, wanted in zip(inputs.split(at_once), y.split(at_once), strict=True):
            blocks = self._fitted(some[:, :m], wanted)
            answers = blocks.answer(some.repeat_interleave(len(blocks.weights) // len(some), 0)).unflatten(
                0, (len(some), -1)
            )
            error = (answers[:, :, :m] - wanted[:, None]).square().mean((2, 3)).clamp(min=1e-12)
            weight = torch.softmax(-0.5 * m * error.log(), 1)[..., None, None]
            mean = (weight * answers).sum(1)
            left = (mean[:, :m] - wanted).square().mean(1, keepdim=True)
            spread = (weight * (answers - mean[:, None]).square()).sum(1)
            parts.append((mean[:, m:], (left + spread[:, m:]).sqrt()))
        mean, deviation = (torch.cat(part) for part in zip(*parts, strict=True))
        return mean, deviation

    def predict_next(self, u: Inputs, y: Outputs, context: int) -> None:
        """Return nothing: the noise is added to the output, so that outputs tell nothing about the next one."""

    def _fitted(self, u: Float[Tensor, "b t 1"], y: Float[Tensor, "b t 1"]) -> "Blocks":
        """Return the fits of every sequence that are kept, side by side."""
        driving, wanted = (x.repeat_interleave(self.restarts, 0) for x in (u, y))
        first = -(-self.steps // 4)
        drawn = self._drawn(driving, wanted)
        error = _error(drawn.answer(driving), wanted)
        fit = _Fit(drawn, driving, wanted, error, torch.full_like(error, 0.1)).descended(first)
        best = fit.error.unflatten(0, (len(u), -1)).argsort(1)[:, : self.kept]
        rows = (torch.arange(len(u))[:, None] * self.restarts + best).flatten()
        return fit.taken(rows).descended(self.steps - first).blocks

    def _drawn(self, u: Tensor, y: Tensor) -> "Blocks":
        """Return first values: stable poles, x of deviation 1, a static part about a line, y of the right size."""
        generator = torch.Generator().manual_seed(self.seed)
        rows, n = len(u), self.order
        options = {"generator": generator, "dtype": torch.float64}

        def denominator() -> Tensor:
            size = 0.4 + 0.57 * torch.rand(rows, n, **options)
            angle = math.pi / 2 * torch.rand(rows, n, **options)
            polynomial = torch.ones(rows, 1, dtype=torch.float64)
            for k in range(n // 2):
                pair = torch.stack([torch.ones(rows), -2 * size[:, k] * angle[:, k].cos(), size[:, k] ** 2], 1)
                polynomial = _product(polynomial, pair)
            if n % 2:
                polynomial = _product(polynomial, torch.stack([torch.ones(rows), -size[:, -1]], 1))
            return -polynomial[:, 1:]

        first, second = (torch.randn(rows, n + 1, **options) for _ in range(2))
        a1, a2, rest = denominator(), denominator(), torch.zeros(rows, n, dtype=torch.float64)
        x = (lags(all_pole(u, a1), 0, n)[:, :, 0] * first[:, None]).sum(2)
        first = first / x.std(1, keepdim=True)
        static = 0.2 * torch.randn(rows, self.units, **options)
        line = torch.tensor([0.0, 0.3], dtype=torch.float64).expand(rows, -1)
        parts = [a1, first, rest, line, static, a2, second, rest]
        answer = Blocks(torch.cat(parts, 1), n, self.units).answer(u)
        answer = answer - answer.mean(1, keepdim=True)
        size = (answer * y).sum(1) / answer.square().sum(1)
        return Blocks(torch.cat([*parts[:6], second * size, rest], 1), n, self.units)


@dataclass(frozen=True)
class Blocks:
    """Parameters of every row, side by side: A1, B1, first state, constant, line and units, A2, B2, second state."""

    weights: Float[Tensor, "r k"]
    order: int
    units: int

    def answer(self, u: Float[Tensor, "r t 1"]) -> Float[Tensor, "r t 1"]:
        """Return y from the first step of the fit on."""
        a1, b1, s1, c, a2, b2, s2 = self._parts()
        x = self._linear(all_pole(torch.cat([u, impulse(u)], 2), a1), b1, s1)
        z = (self._units(x)[0] * c[:, None]).sum(2, keepdim=True)
        return self._linear(all_pole(torch.cat([z, impulse(u)], 2), a2), b2, s2)

    def answer_and_slopes(self, u: Float[Tensor, "r t 1"]) -> tuple[Float[Tensor, "r t 1"], Float[Tensor, "r t k"]]:
        """Return y and its derivatives in all parameters."""
        (a1, b1, s1, c, a2, b2, s2), n = self._parts(), self.order
        filtered = all_pole(torch.cat([u, impulse(u)], 2), a1)
        x = self._linear(filtered, b1, s1)
        units, slopes = self._units(x)
        z, steepness = (units * c[:, None]).sum(2, keepdim=True), (slopes * c[:, None]).sum(2, keepdim=True)
        of_first = torch.cat([lags(all_pole(x, a1), 1, n)[:, :, 0], *self._delayed(filtered)], 2)
        inner = torch.cat([steepness * of_first, units], 2)
        through = inner * b2[:, None, :1]
        for k in range(1, n + 1):
            through[:, k:] += inner[:, :-k] * b2[:, None, k : k + 1]
        outer = all_pole(torch.cat([through, z, impulse(u)], 2), a2)
        y = self._linear(outer[..., -2:], b2, s2)
        of_second = torch.cat([lags(all_pole(y, a2), 1, n)[:, :, 0], *self._delayed(outer[..., -2:])], 2)
        return y, torch.cat([outer[..., :-2], of_second], 2)

    def _parts(self) -> tuple[Tensor, ...]:
        n = self.order
        return self.weights.split([n, n + 1, n, 2 + self.units, n, n + 1, n], 1)

    def _delayed(self, filtered: Float[Tensor, "r t 2"]) -> tuple[Tensor, Tensor]:
        """Return the delays of a filtered signal and of a filtered impulse that a numerator and a state weigh."""
        signal, first = filtered.split(1, 2)
        return lags(signal, 0, self.order)[:, :, 0], lags(first, 0, self.order - 1)[:, :, 0]

    def _linear(self, filtered: Float[Tensor, "r t 2"], numerator: Tensor, state: Tensor) -> Float[Tensor, "r t 1"]:
        signal, first = self._delayed(filtered)
        answer = torch.einsum("rtk,rk->rt", signal, numerator) + torch.einsum("rtk,rk->rt", first, state)
        return bounded(answer)[..., None]

    def _units(self, x: Float[Tensor, "r t 1"]) -> tuple[Float[Tensor, "r t k"], Float[Tensor, "r t k"]]:
        """Return 1, x and the hyperbolic tangents, and their slopes."""
        offset = torch.linspace(-3, 3, self.units, dtype=x.dtype, device=x.device)
        width = 8 / max(1, self.units - 1)
        bent = ((x - offset) / width).tanh()
        one, nothing = torch.ones_like(x), torch.zeros_like(x)
        return torch.cat([one, x, bent], 2), torch.cat([nothing, one, (1 - bent.square()) / width], 2)


@dataclass(frozen=True)
class _Fit:
    """Parameters on their way, with the errors and the damping of each row."""

    blocks: Blocks
    u: Float[Tensor, "r t 1"]
    y: Float[Tensor, "r t 1"]
    error: Float[Tensor, " r"]
    damping: Float[Tensor, " r"]

    def taken(self, rows: Tensor) -> "_Fit":
        """Return the fits of some rows."""
        blocks = replace(self.blocks, weights=self.blocks.weights[rows])
        return _Fit(blocks, *(part[rows] for part in (self.u, self.y, self.error, self.damping)))

    def descended(self, steps: int) -> "_Fit":
        """Take steps of Levenberg and Marquardt (Marquardt 1963): one that makes a row worse damps the next instead."""
        blocks, error, damping = self.blocks, self.error, self.damping
        for _ in range(steps):
            answer, slopes = blocks.answer_and_slopes(self.u)
            curvature = slopes.mT @ slopes
            diagonal = curvature.diagonal(dim1=1, dim2=2)
            least = 1e-9 * diagonal.amax(1, keepdim=True) + 1e-12
            step = solution(
                curvature + torch.diag_embed(damping[:, None] * diagonal + least), slopes.mT @ (self.y - answer)
            )
            usable = step.isfinite().all(1, keepdim=True)
            tried = replace(blocks, weights=blocks.weights + torch.where(usable, step, 0))
            there = _error(tried.answer(self.u), self.y)
            better = there < error
            error = torch.where(better, there, error)
            blocks = replace(blocks, weights=torch.where(better[:, None], tried.weights, blocks.weights))
            damping = torch.where(better, 0.3 * damping, 4 * damping).clamp(1e-8, 1e8)
        return replace(self, blocks=blocks, error=error, damping=damping)


def _error(answer: Tensor, y: Tensor) -> Float[Tensor, " r"]:
    return (answer - y).square().mean((1, 2)).nan_to_num(torch.inf)


def _product(p: Float[Tensor, "r i"], q: Float[Tensor, "r j"]) -> Float[Tensor, "r k"]:
    """Return the coefficients of the products of polynomials."""
    out = p.new_zeros(len(p), p.shape[1] + q.shape[1] - 1)
    for k in range(q.shape[1]):
        out[:, k : k + p.shape[1]] += p * q[:, k : k + 1]
    return out
