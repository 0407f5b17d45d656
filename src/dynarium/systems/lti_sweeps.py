"""What linear systems and static networks answer, compiled: one vector instruction works on many sequences side by side.

Numba compiles the sweeps when they are first used and keeps the result on disk. No sequence's numbers depend on those beside
it. All is in float64.
"""

import functools

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from dynarium.ssm.tiles import LANES, tile

CHUNK = 64
"""Steps that are brought side by side at a time; both tiles of them stay in the first cache."""
_compiled = functools.cache(tile)


def modal_answer(
    u: Float[Tensor, "b t"], pole: Complex[Tensor, "b n"], residue: Complex[Tensor, "b n"], direct: Float[Tensor, " b"]
) -> Float[Tensor, "b t"]:
    """Return y_t = d u_t + Re sum_i r_i s_i,t with s_i,(t+1) = p_i s_i,t + u_t from 0, of systems with one input and output."""
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    parts = [x.contiguous().numpy() for x in (pole.real, pole.imag, residue.real, residue.imag, direct)]
    _compiled(_modal_sweep)(u.contiguous().numpy(), *parts, y.numpy())
    return y


def network_answer(
    x: Float[Tensor, "b t"],
    w1: Float[Tensor, "b h"],
    b1: Float[Tensor, "b h"],
    w2: Float[Tensor, "b h"],
    b2: Float[Tensor, " b"],
) -> Float[Tensor, "b t"]:
    """Return w2 . tanh(w1 x + b1) + b2 at every step."""
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    _compiled(_network_sweep)(*(part.contiguous().numpy() for part in (x, w1, b1, w2, b2)), y.numpy())
    return y


def standardised_rows(y: Float[Tensor, "b t"], first: int, guard: float) -> Float[Tensor, "b t"]:
    """Return (y - mean) / (deviation + guard), mean and deviation those of the steps from ``first`` on."""
    out = torch.empty_like(y, memory_format=torch.contiguous_format)
    _compiled(_standard_sweep)(y.contiguous().numpy(), first, guard, out.numpy())
    return out


def drawn_poles(
    order: Int[Tensor, " b"],
    repeat: Float[Tensor, "b n"],
    real: Float[Tensor, "b n"],
    size: Float[Tensor, "b n"],
    angle: Float[Tensor, "b n"],
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b n"]]:
    """Return real and imaginary parts of poles by the law of ``LinearLaw``, from the draws of every place.

    ``repeat`` and ``real`` say below 0 that the pole before comes again, or that the pole is real.
    """
    re, im = torch.zeros(2, *size.shape, dtype=torch.float64)
    arrays = (
        x.contiguous().numpy() for x in (order, repeat, real, size * angle.cos(), size * angle.sin(), size, re, im)
    )
    _compiled(_poles_sweep)(*arrays)
    return re, im


# Loops over lanes read their bound from the array: with a constant one LLVM unrolls them before it can vectorise.


def _modal_sweep(u, a, b, p, q, d, y):
    count, steps = u.shape
    n = a.shape[1]
    used = np.zeros(count, np.int64)
    for row in range(count):
        for i in range(n):
            used[row] += p[row, i] != 0 or q[row, i] != 0
    rows = np.argsort(used, kind="mergesort")  # systems of about equal order side by side
    work, direct = np.zeros((6, n, LANES)), np.zeros(LANES)
    entering, leaving = np.zeros((CHUNK, LANES)), np.zeros((CHUNK, LANES))
    for start in range(0, count, LANES):
        width = min(LANES, count - start)
        work[:] = 0.0
        for w in range(width):
            row, k = rows[start + w], 0
            direct[w] = d[row]
            for i in range(n):
                if p[row, i] != 0 or q[row, i] != 0:
                    work[2, k, w], work[3, k, w] = a[row, i], b[row, i]
                    work[4, k, w], work[5, k, w] = p[row, i], q[row, i]
                    k += 1
        most = used[rows[start + width - 1]]
        for first in range(0, steps, CHUNK):
            length = min(CHUNK, steps - first)
            for w in range(width):
                for t in range(length):
                    entering[t, w] = u[rows[start + w], first + t]
            for t in range(length):
                for w in range(leaving.shape[1]):
                    leaving[t, w] = direct[w] * entering[t, w]
                for i in range(most):
                    for w in range(work.shape[2]):
                        real, imaginary = work[0, i, w], work[1, i, w]
                        leaving[t, w] += work[4, i, w] * real - work[5, i, w] * imaginary
                        work[0, i, w] = work[2, i, w] * real - work[3, i, w] * imaginary + entering[t, w]
                        work[1, i, w] = work[3, i, w] * real + work[2, i, w] * imaginary
            for w in range(width):
                for t in range(length):
                    y[rows[start + w], first + t] = leaving[t, w]


def _network_sweep(x, w1, b1, w2, b2, y):
    """tanh(s) = 1 - 2 / (exp(2 s) + 1), the exponential by its series at a 256th of the exponent and eight squarings."""
    count, steps = x.shape
    for row in range(count):
        for t in range(steps):
            y[row, t] = b2[row]
        for k in range(w1.shape[1]):
            slope, shift, weight = w1[row, k] / 128, b1[row, k] / 128, w2[row, k]
            for t in range(steps):
                z = slope * x[row, t] + shift
                z = 0.2 if z > 0.2 else z
                z = -0.2 if z < -0.2 else z
                e = 1 + z * (1 / 8)
                e = 1 + z * (1 / 7) * e
                e = 1 + z * (1 / 6) * e
                e = 1 + z * (1 / 5) * e
                e = 1 + z * (1 / 4) * e
                e = 1 + z * (1 / 3) * e
                e = 1 + z * (1 / 2) * e
                e = 1 + z * e
                e *= e
                e *= e
                e *= e
                e *= e
                e *= e
                e *= e
                e *= e
                e *= e
                y[row, t] += weight * (1 - 2 / (e + 1))


def _poles_sweep(order, repeat, real, pair_re, pair_im, size, re, im):
    for row in range(len(order)):
        i, n = 0, order[row]
        while i < n:
            last = i == n - 1
            if i > 0 and not last and repeat[row, i] < 0:
                if im[row, i - 1] == 0:
                    re[row, i] = re[row, i - 1]
                    i += 1
                    continue
                re[row, i], im[row, i] = re[row, i - 2], im[row, i - 2]
            elif last or real[row, i] < 0:
                re[row, i] = size[row, i]
                i += 1
                continue
            else:
                re[row, i], im[row, i] = pair_re[row, i], pair_im[row, i]
            re[row, i + 1], im[row, i + 1] = re[row, i], -im[row, i]
            i += 2


def _standard_sweep(y, first, guard, out):
    count, steps = y.shape
    kept, part = steps - first, np.zeros(LANES)
    for row in range(count):
        # Several sums at a time: one alone would wait for each addition, and no order of them may depend on the compiler.
        part[:] = 0.0
        for t in range(first, steps - kept % LANES, LANES):
            for w in range(part.shape[0]):
                part[w] += y[row, t + w]
        for t in range(steps - kept % LANES, steps):
            part[0] += y[row, t]
        mean = part.sum() / kept
        part[:] = 0.0
        for t in range(first, steps - kept % LANES, LANES):
            for w in range(part.shape[0]):
                part[w] += (y[row, t + w] - mean) ** 2
        for t in range(steps - kept % LANES, steps):
            part[0] += (y[row, t] - mean) ** 2
        scale = 1 / (np.sqrt(part.sum() / kept) + guard)
        for t in range(steps):
            out[row, t] = (y[row, t] - mean) * scale
