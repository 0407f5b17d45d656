"""Small matrices of sixteen sequences side by side, as compiled functions: what the sweeps over time are made of.

Every matrix is a tile ``[i, j, lane]``, so each scalar operation of the textbook is one vector instruction over lanes.
"""

import inspect
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

LANES = 16
# Loops over lanes read their bound from the tile: with a constant one LLVM unrolls them before it can vectorise.

OPTIONS = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"contract"}}


STAMP = f"{zlib.crc32(Path(__file__).read_bytes()):08x}"


def stamped(function: Callable[..., Any]) -> Callable[..., Any]:
    """Unwrap a function and give it a name that changes with this file.

    Numba's cache looks at nothing but a function's own file and name when it decides what is stale.
    """
    function = inspect.unwrap(function)
    function.__qualname__ = f"{function.__name__}_{STAMP}"
    return function


def tile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function; a run-time type checker may have wrapped it before."""
    return numba.njit(**OPTIONS)(stamped(function))


# ---- tiles: out += a b, with a or b transposed ----------------------------------------------------------------------


@tile
def nn(out, a, b):  # noqa: D103
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(a.shape[1]):
                for w in range(out.shape[2]):
                    out[i, j, w] += a[i, k, w] * b[k, j, w]


@tile
def nt(out, a, b):  # noqa: D103
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(a.shape[1]):
                for w in range(out.shape[2]):
                    out[i, j, w] += a[i, k, w] * b[j, k, w]


@tile
def tn(out, a, b):  # noqa: D103
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            for k in range(a.shape[0]):
                for w in range(out.shape[2]):
                    out[i, j, w] += a[k, i, w] * b[k, j, w]


@tile
def set_nn(out, a, b):  # noqa: D103
    out[:] = 0
    nn(out, a, b)


@tile
def set_tn(out, a, b):  # noqa: D103
    out[:] = 0
    tn(out, a, b)


@tile
def identity(out):  # noqa: D103
    out[:] = 0
    for i in range(out.shape[0]):
        out[i, i, :] = 1


@tile
def symmetrize(a, half):
    """Replace a square tile by its symmetric part."""
    for i in range(a.shape[0]):
        for j in range(i):
            for w in range(a.shape[2]):
                mean = half * (a[i, j, w] + a[j, i, w])
                a[i, j, w] = mean
                a[j, i, w] = mean


@tile
def load(out, source, start, t):
    """Gather step t of sixteen sequences; beyond the end of the batch the last one is repeated."""
    for w in range(out.shape[2]):
        b = min(start + w, source.shape[0] - 1)
        for i in range(out.shape[0]):
            for j in range(out.shape[1]):
                out[i, j, w] = source[b, t, i, j]


@tile
def store(target, a, start, t):  # noqa: D103
    for w in range(min(LANES, target.shape[0] - start)):
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                target[start + w, t, i, j] = a[i, j, w]


# ---- conditioning on one sensor after the other ---------------------------------------------------------------------


@tile
def load_sensors(C, R, y, seen, source_C, source_R, source_y, source_seen, start, t):
    """Load C, R, y of a step; missing entries get a row of zeros, a row and column of the identity, a zero."""
    for w in range(C.shape[2]):
        b = min(start + w, source_C.shape[0] - 1)
        for i in range(C.shape[0]):
            here = source_seen[b, t, i]
            seen[i, 0, w] = here
            y[i, 0, w] = source_y[b, t, i, 0] if here else 0
            for j in range(C.shape[1]):
                C[i, j, w] = source_C[b, t, i, j] if here else 0
            for j in range(C.shape[0]):
                R[i, j, w] = source_R[b, t, i, j] if here and source_seen[b, t, j] else i == j


@tile
def decorrelate(C, Y, R):
    """Eliminate the correlations of the emission noise: C, Y become ``L^-1 C``, ``L^-1 Y``; the diagonal of R stays."""
    p = C.shape[0]
    for j in range(p - 1):
        for i in range(j + 1, p):
            for w in range(C.shape[2]):
                pivot = R[j, j, w]
                factor = R[i, j, w] / pivot if pivot > 0 else R[i, j, w] * 0
                for k in range(j, p):
                    R[i, k, w] -= factor * R[j, k, w]
                for k in range(C.shape[1]):
                    C[i, k, w] -= factor * C[j, k, w]
                for k in range(Y.shape[1]):
                    Y[i, k, w] -= factor * Y[j, k, w]


@tile
def condition(P, X, C, Y, R, s, h, k, half):
    """Condition the covariance P and columns X of means on sensors; Y turns into the innovations, s is their variances.

    Joseph's form for each scalar sensor (Bierman 1977).
    """
    n = P.shape[0]
    for i in range(C.shape[0]):
        s[i, 0, :] = R[i, i, :]
        for a in range(n):
            h[a, 0, :] = 0
            for b in range(n):
                for w in range(P.shape[2]):
                    h[a, 0, w] += P[a, b, w] * C[i, b, w]
            for w in range(P.shape[2]):
                s[i, 0, w] += C[i, a, w] * h[a, 0, w]
        for a in range(n):
            for w in range(P.shape[2]):
                k[a, 0, w] = h[a, 0, w] / s[i, 0, w]
        for j in range(X.shape[1]):
            for a in range(n):
                for w in range(P.shape[2]):
                    Y[i, j, w] -= C[i, a, w] * X[a, j, w]
            for a in range(n):
                for w in range(P.shape[2]):
                    X[a, j, w] += k[a, 0, w] * Y[i, j, w]
        for a in range(n):
            for b in range(n):
                for w in range(P.shape[2]):
                    P[a, b, w] -= k[a, 0, w] * h[b, 0, w]
        for a in range(n):
            for w in range(P.shape[2]):
                h[a, 0, w] = -R[i, i, w] * k[a, 0, w]
            for b in range(n):
                for w in range(P.shape[2]):
                    h[a, 0, w] += P[a, b, w] * C[i, b, w]
        for a in range(n):
            for b in range(n):
                for w in range(P.shape[2]):
                    P[a, b, w] -= h[a, 0, w] * k[b, 0, w]
        symmetrize(P, half)


@tile
def factorize(S, inverse):
    """``S = L D L'`` in place (unit lower L below the diagonal), ``inverse = D^-1``; True if D is positive."""
    n = S.shape[0]
    positive = True
    for j in range(n):
        for w in range(S.shape[2]):
            positive &= S[j, j, w] > 0
            inverse[j, 0, w] = 1 / S[j, j, w]
        for i in range(j + 1, n):
            for k in range(j + 1, i + 1):
                for w in range(S.shape[2]):
                    S[i, k, w] -= S[i, j, w] * S[k, j, w] * inverse[j, 0, w]
        for i in range(j + 1, n):
            for w in range(S.shape[2]):
                S[i, j, w] *= inverse[j, 0, w]
    return positive


@tile
def solve(L, inverse, X):
    """Replace X by ``(L D L')^-1 X``."""
    n = L.shape[0]
    for c in range(X.shape[1]):
        for i in range(n):
            for j in range(i):
                for w in range(L.shape[2]):
                    X[i, c, w] -= L[i, j, w] * X[j, c, w]
        for i in range(n - 1, -1, -1):
            for w in range(L.shape[2]):
                X[i, c, w] *= inverse[i, 0, w]
            for j in range(i + 1, n):
                for w in range(L.shape[2]):
                    X[i, c, w] -= L[j, i, w] * X[j, c, w]
