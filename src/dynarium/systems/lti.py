"""Random linear time-invariant systems in modal form: the law they are drawn from, and what they answer.

Thousands of systems at once: a system is a row. Those with one input and one output are simulated by a compiled sweep on the
CPU; otherwise time is cut into chunks within which the recurrence is a matrix product.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Complex, Float, Int
from torch import Tensor

from dynarium.errors import UserError
from dynarium.systems.checks import check_positive, check_range
from dynarium.systems.draws import Range, uniform

_REPEAT, _REAL = 0.05, 0.6
_KEEP, _NO_FEEDTHROUGH, _KEEP_FEEDTHROUGH = 0.8, 0.5, 0.3
_CHUNK = 16


@dataclass(frozen=True, kw_only=True)
class LinearLaw:
    """The law of random discrete-time systems x' = A x + B u, y = C x + D u.

    Poles are drawn one after the other: with probability 0.05 the last pole or pair again (never first or last), else with
    probability 0.6 (and where only one place is left) a positive real pole, else a complex pair; sizes and phases are
    uniform. A is block-diagonal in a random basis, T^-1 A T with T of standard normal entries; B and C are standard normal,
    each entry kept with probability 0.8, at least one of each matrix; D is 0, or with probability 0.5 standard normal, each
    entry kept with probability 0.3. The law is that of the ``rss`` functions of control toolboxes, with bounds on the poles
    (Forgione, Pura & Piga 2023, section IV).

    Attributes:
        order: Number of states; the largest one where it is random.
        random_order: Whether the order of each system is drawn from 1 .. ``order``.
        magnitude: Lowest and highest magnitude of a pole.
        phase: Lowest and highest phase of a complex pole in radians.
        strictly_proper: Whether D is 0 in all systems.
    """

    order: int = 10
    random_order: bool = True
    magnitude: Range = (0.5, 0.97)
    phase: Range = (0.0, math.pi / 2)
    strictly_proper: bool = True

    def __post_init__(self) -> None:
        """Check the configuration.

        Raises:
            UserError: A value outside its range.
        """
        check_positive(order=self.order)
        check_range("magnitude", self.magnitude, low=0.0)
        check_range("phase", self.phase, low=0.0)
        if self.magnitude[1] >= 1:
            raise UserError(f"magnitude: expected numbers below 1, which are stable poles, got {self.magnitude}")
        if self.phase[1] > math.pi:
            raise UserError(f"phase: expected numbers of at most pi, got {self.phase}")

    def draw(self, n: int, inputs: int, outputs: int, generator: torch.Generator) -> "Modal":
        """Draw ``n`` systems; orders below ``order`` leave states without input and output."""
        options = {"dtype": torch.float64, "device": generator.device, "generator": generator}
        width = self.order
        order = torch.full((n,), width, device=generator.device)
        if self.random_order:
            order = torch.randint(1, width + 1, (n,), device=generator.device, generator=generator)
        used = torch.arange(width, device=order.device) < order[:, None]
        re, im = self._poles(order, generator)
        both = used[:, :, None] & used[:, None, :]
        basis = torch.where(both, torch.randn(n, width, width, **options), torch.eye(width, **_plain(options)))
        b = torch.randn(n, width, inputs, **options) * _kept(used[:, :, None].expand(-1, -1, inputs), generator)
        c = torch.randn(n, outputs, width, **options) * _kept(used[:, None].expand(-1, outputs, -1), generator)
        d = torch.zeros(n, outputs, inputs, **_plain(options))
        if not self.strictly_proper:
            some = torch.rand(n, 1, 1, **options) >= _NO_FEEDTHROUGH
            kept = torch.rand(n, outputs, inputs, **options) < _KEEP_FEEDTHROUGH
            d = torch.randn(n, outputs, inputs, **options) * (some & kept)
        # With A = T^-1 L T the states T x follow L, have the input matrix T B and the output matrix C T^-1.
        return Modal(re=re, im=im, b=basis @ b, c=torch.linalg.solve(basis, c, left=False), d=d)

    def _poles(self, order: Int[Tensor, " b"], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the poles place by place; a pair fills two places, the one of positive phase first."""
        from dynarium.systems.lti_sweeps import drawn_poles  # compiled when it is first used

        shape = (len(order), self.order)
        repeat, real = torch.rand(2, *shape, dtype=torch.float64, device=order.device, generator=generator)
        size, angle = (uniform(bounds, shape, generator) for bounds in (self.magnitude, self.phase))
        draws = (order, repeat - _REPEAT, real - _REAL, size, angle)
        re, im = drawn_poles(*(x.cpu() for x in draws))  # a loop over few numbers, on any device
        return re.to(order.device), im.to(order.device)


@dataclass(frozen=True, kw_only=True)
class Modal:
    """Systems in real modal form: A has blocks [re], or [[re, im], [-im, re]] for a pair, D is ``d``.

    Attributes:
        re: Real part of the pole of each state.
        im: Its imaginary part: positive at the first state of a pair, negative at the second, 0 at a real pole.
        b: Input matrices.
        c: Output matrices.
        d: Feed-through.
    """

    re: Float[Tensor, "b n"]
    im: Float[Tensor, "b n"]
    b: Float[Tensor, "b n a"]
    c: Float[Tensor, "b p n"]
    d: Float[Tensor, "b p a"]

    def packed(self) -> Float[Tensor, "b q"]:
        """Return all entries of each system in one row."""
        return torch.cat([getattr(self, f.name).flatten(1) for f in fields(self)], 1)

    @staticmethod
    def unpacked(rows: Float[Tensor, "b q"], order: int, inputs: int, outputs: int) -> "Modal":
        """Return the systems of packed rows."""
        parts = rows.split(modal_sizes(order, inputs, outputs), 1)
        re, im, b, c, d = parts
        shape = (-1, order, inputs), (-1, outputs, order), (-1, outputs, inputs)
        return Modal(re=re, im=im, b=b.reshape(shape[0]), c=c.reshape(shape[1]), d=d.reshape(shape[2]))

    def answer(self, u: Float[Tensor, "b t a"]) -> Float[Tensor, "b t p"]:
        """Return the outputs from a state of 0: y_t = C x_t + D u_t, x_(t+1) = A x_t + B u_t."""
        if u.device.type == "cpu" and u.shape[2] == 1 == self.c.shape[1]:
            from dynarium.systems.lti_sweeps import modal_answer  # compiled when it is first used

            return modal_answer(u[..., 0], *self.residues(), self.d[:, 0, 0])[..., None]
        return self.answer_in_chunks(u)

    def residues(self) -> tuple[Complex[Tensor, "b n"], Complex[Tensor, "b n"]]:
        """Return poles and residues of systems with one input and one output: H(z) = d + Re sum_i r_i / (z - p_i).

        A pair stands in its first place, where s = x_1 + i x_2 follows s' = (re - i im) s + (b_1 + i b_2) u; its second
        place has residue 0.
        """
        first, c, b = self.im > 0, self.c[:, 0], self.b[:, :, 0]
        next_c, next_b = (torch.where(first, x.roll(-1, 1), 0.0) for x in (c, b))
        residue = torch.complex(c, -next_c) * torch.complex(b, next_b)
        return torch.complex(self.re, -self.im), torch.where(self.im < 0, 0.0, residue)

    def answer_in_chunks(self, u: Float[Tensor, "b t a"]) -> Float[Tensor, "b t p"]:
        """Return the same by matrix products, on any device and of any number of inputs and outputs.

        Within a chunk of L steps, Y = U H + x O with H the Toeplitz matrix of the impulse response and O the free response;
        only the state at the borders of the chunks is a recurrence.
        """
        count, steps, inputs = u.shape
        outputs, length = self.c.shape[1], min(_CHUNK, steps)
        chunks = -(-steps // length)
        u = torch.nn.functional.pad(u, (0, 0, 0, chunks * length - steps)).reshape(count, chunks, length * inputs)
        powers = _powers(torch.complex(self.re, self.im), length)
        p, q = powers.real[:, : length + 1], powers.imag[:, : length + 1]
        number = torch.arange(self.re.shape[1], device=u.device)
        partner = number + (self.im > 0).long() - (self.im < 0).long()
        b_partner = self.b.gather(1, partner[:, :, None].expand_as(self.b))
        c_partner = self.c.gather(2, partner[:, None, :].expand_as(self.c))
        # A^k b and c A^k for k = 0 .. L-1.
        reach = p[:, :length, :, None] * self.b[:, None] + q[:, :length, :, None] * b_partner[:, None]
        free = p[:, :length, None] * self.c[:, None] - q[:, :length, None] * c_partner[:, None]
        impulse = torch.cat([self.d[:, None], (free.flatten(1, 2) @ self.b).unflatten(1, (length, outputs))[:, :-1]], 1)
        padded = torch.nn.functional.pad(impulse, (0, 0, 0, 0, length - 1, 0))
        toeplitz = padded.unfold(1, length, 1).flip(1).permute(0, 1, 3, 4, 2)
        response = toeplitz.reshape(count, length * inputs, length * outputs)
        if chunks == 1:
            return (u @ response).reshape(count, length, outputs)[:, :steps]
        into = reach.flip(1).transpose(2, 3).reshape(count, length * inputs, -1)
        both = u @ torch.cat([response, into], 2)
        y, driven = both[..., : length * outputs], both[..., length * outputs :]
        x, states = torch.zeros_like(self.re), []
        for k in range(chunks):
            states.append(x)
            x = torch.addcmul(driven[:, k], p[:, length], x).addcmul_(q[:, length], x.gather(1, partner))
        y = torch.baddbmm(y, torch.stack(states, 1), free.flatten(1, 2).mT)
        return y.reshape(count, chunks * length, outputs)[:, :steps]


def modal_sizes(order: int, inputs: int, outputs: int) -> list[int]:
    """Return how many numbers each field of a system in modal form has."""
    return [order, order, order * inputs, outputs * order, outputs * inputs]


def _powers(pole: Tensor, most: int) -> Tensor:
    """Return pole^k for k = 0 .. at least ``most`` [b, k, n], by doubling."""
    powers, step = torch.ones_like(pole)[:, None], pole[:, None]
    while powers.shape[1] <= most:
        powers = torch.cat([powers, powers * step], 1)
        step = step * step
    return powers


def _kept(used: Bool[Tensor, "b _ _"], generator: torch.Generator) -> Bool[Tensor, "b _ _"]:
    """Draw which used entries of each matrix are kept, again where none is."""
    kept = torch.zeros_like(used)
    while bool((none := ~kept.flatten(1).any(1)).any()):
        drawn = torch.rand(used.shape, device=used.device, generator=generator) < _KEEP
        kept = torch.where(none[:, None, None], drawn & used, kept)
    return kept


def _plain(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "generator"}
