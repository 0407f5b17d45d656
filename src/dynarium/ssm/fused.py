"""The compiled sweeps from tensors to tensors."""

import functools
import itertools
import threading
from collections.abc import Callable
from typing import Any

import numba
import torch
from torch import Tensor

from dynarium.ssm import bank_sweeps, sweeps, tiles

# A thread costs some fifty microseconds to start, a step of a sequence about one.
STEPS_PER_THREAD = 2048


@functools.cache
def compiled(sweep: Callable[..., Any], dtype: str, ranks: tuple[int, ...]) -> Callable[..., Any]:
    """Compile a sweep for arrays of any strides, once; arrays of rank 3 are masks."""
    number = {"float32": numba.float32, "float64": numba.float64}[dtype]
    arrays = [numba.types.Array(number if rank == 4 else numba.boolean, rank, "A") for rank in ranks]
    return numba.njit((*arrays, numba.intp, numba.intp), **tiles.OPTIONS)(tiles.stamped(sweep))


def run(sweep: Callable[..., Any], *tensors: Tensor) -> bool:
    """Run a sweep over the whole batch, on as many threads as PyTorch uses; True unless one reports a failure."""
    arrays = [x.detach().numpy() for x in tensors]
    function = compiled(sweep, str(arrays[0].dtype), tuple(x.ndim for x in arrays))
    b, t = arrays[0].shape[:2]
    blocks = -(-b // tiles.LANES)
    threads = max(1, min(torch.get_num_threads(), blocks, b * t // STEPS_PER_THREAD))
    edges = [tiles.LANES * (blocks * i // threads) for i in range(threads)] + [b]
    if threads == 1:
        return function(*arrays, 0, b) is not False
    outcomes: list[bool] = []

    def part(first: int, last: int) -> None:
        outcomes.append(function(*arrays, first, last) is not False)

    workers = [threading.Thread(target=part, args=pair) for pair in itertools.pairwise(edges)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return len(outcomes) == threads and all(outcomes)


def filter_forward(
    A: Tensor, C: Tensor, Q: Tensor, R: Tensor, y: Tensor, push: Tensor, m0: Tensor, P0: Tensor, seen: Tensor
) -> tuple[Tensor, ...]:
    """Return filtered and predicted moments and the log-likelihood of every step."""
    b, t, n, _ = A.shape
    m, mp, P, Pp, ll = (A.new_empty(b, t, *size) for size in ((n, 1), (n, 1), (n, n), (n, n), (1, 1)))
    start = m0[:, None, :, None], P0[:, None]
    run(sweeps.filter_sweep, A, C, Q, R, y[..., None], push[..., None], *start, seen, m, P, mp, Pp, ll)
    return m.squeeze(-1), P, mp.squeeze(-1), Pp, ll[..., 0, 0]


def filter_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the cotangents of A, C, Q, R, y, push, m0, P0, given those of what ``filter_forward`` returns."""
    A, C, Q, R, y, seen = inputs
    m, P, mp, Pp = outputs
    gm, gP, gmp, gPp, gl = cotangents
    like = (A, C, Q, R, y[..., None], m[..., None], m[:, :1, :, None], P[:, :1])
    grads = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in like]
    columns = gm[..., None], gP, gmp[..., None], gPp, gl[..., None, None]
    run(sweeps.filter_adjoint_sweep, A, C, R, y[..., None], seen, m[..., None], P, mp[..., None], Pp, *columns, *grads)
    gA, gC, gQ, gR, gy, gpush, gm0, gP0 = grads
    return gA, gC, gQ, gR, gy.squeeze(-1), gpush.squeeze(-1), gm0[:, 0, :, 0], gP0[:, 0]


def smoother_forward(A: Tensor, Q: Tensor, m: Tensor, P: Tensor, mp: Tensor, Pp: Tensor) -> tuple[Tensor, ...]:
    """Return smoothed means and covariances, covariances across steps, and the gains G.

    Raises:
        torch.linalg.LinAlgError: A predicted covariance is not positive definite.
    """
    b, t, n = m.shape
    ms, Ps, cross, G = (A.new_empty(b, *size) for size in ((t, n, 1), (t, n, n), (t - 1, n, n), (t - 1, n, n)))
    if not run(sweeps.smoother_sweep, A, Q, m[..., None], P, mp[..., None], Pp, ms, Ps, cross, G):
        raise torch.linalg.LinAlgError("a predicted covariance is not positive definite")  # pyright: ignore
    return ms.squeeze(-1), Ps, cross, G


def smoother_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the cotangents of A, Q, m, P, mp, Pp."""
    A, Q, P, mp, Pp = inputs
    ms, Ps, G = outputs
    gms, gPs, gcross = cotangents
    like = (A, Q, ms[..., None], P, mp[..., None], Pp)
    grads = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in like]
    columns = (mp[..., None], Pp, ms[..., None], Ps, G, gms[..., None], gPs, gcross)
    run(sweeps.smoother_adjoint_sweep, A, P, *columns, *grads)
    gA, gQ, gm, gP, gmp, gPp = grads
    return gA, gQ, gm.squeeze(-1), gP, gmp.squeeze(-1), gPp


def bank_forward(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return potentials, log-likelihoods, weights, means and covariances of a bank of filters."""
    y, A, C, Q, push, initial, transition, tilt, R, m0, P0, seen = inputs
    (b, t, _), (k, n) = y.shape, A.shape[:2]
    psi, ll, w, m, P = (y.new_empty(b, t, *size) for size in ((k, 1), (1, 1), (k, 1), (n, 1), (n, n)))
    shared = A[None], C[None], Q[None], R[None, None]
    start = m0[None, None, :, None], P0[None, None]
    run(bank_sweeps.bank_sweep, y[..., None], *shared, push, initial[None, None, :, None], transition, tilt[..., None],
        *start, seen[..., None], psi, ll, w, m, P)  # fmt: skip
    return psi[..., 0], ll[..., 0, 0], w[..., 0], m[..., 0], P


def bank_backward(
    inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...], cotangents: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Return the cotangents of y, A, C, Q, push, initial, transition, tilt, given those of the first two results."""
    y, A, C, Q, push, initial, transition, tilt, R, m0, P0, seen = inputs
    psi, ll, w, m, P = outputs
    gpsi, gll = cotangents
    b = len(y)
    like = (y[..., None], *(x.expand(b, *x.shape) for x in (A, C, Q)), push)
    like = (*like, initial[None, None, :, None].expand(b, 1, -1, 1), transition, tilt[..., None])
    grads = [torch.zeros_like(x, memory_format=torch.contiguous_format) for x in like]
    shared = A[None], C[None], Q[None], R[None, None]
    start = m0[None, None, :, None], P0[None, None]
    run(bank_sweeps.bank_adjoint_sweep, y[..., None], *shared, push, initial[None, None, :, None], transition, *start,
        seen[..., None], psi[..., None], ll[..., None, None], w[..., None], m[..., None], P, gpsi[..., None],
        gll[..., None, None], *grads)  # fmt: skip
    gy, gA, gC, gQ, gpush, ginitial, gtransition, gtilt = grads
    return gy[..., 0], gA.sum(0), gC.sum(0), gQ.sum(0), gpush, ginitial.sum(0)[0, :, 0], gtransition, gtilt[..., 0]
