"""Subspace identification of linear systems from inputs and outputs, many data sets at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """x_(t+1) = A x_t + B u_t, y_t = C x_t + D u_t, from the state ``x0`` at the first step."""

    A: Float[Tensor, "b n n"]
    B: Float[Tensor, "b n a"]
    C: Float[Tensor, "b p n"]
    D: Float[Tensor, "b p a"]
    x0: Float[Tensor, "b n"]

    def simulate(self, u: Float[Tensor, "b t a"]) -> Float[Tensor, "b t p"]:
        """Return the outputs."""
        driven, x, states = u @ self.B.mT, self.x0[:, None], []
        for step in driven.split(1, 1):
            states.append(x)
            x = torch.baddbmm(step, x, self.A.mT)
        return torch.cat(states, 1) @ self.C.mT + u @ self.D.mT


def fit_subspace(
    u: Float[Tensor, "b t a"], y: Float[Tensor, "b t p"], orders: Sequence[int], rows: int
) -> list[StateSpace]:
    """Fit a model of each order by PO-MOESP with least squares for B, D and x0.

    The future outputs' part in the past, orthogonal to the future inputs, comes from one LQ decomposition; its left singular
    vectors span the extended observability matrix, whose first rows are C and whose shift gives A (Verhaegen 1994). B, D and
    x0 then minimise the error of the simulated outputs, in which they are linear. Poles outside the unit circle, which the
    true systems do not have, are moved to its inside along their direction.

    Args:
        u: Inputs, centred.
        y: Outputs, centred.
        orders: Numbers of states.
        rows: Block rows of past and future.
    """
    a, p = u.shape[2], y.shape[2]
    columns = u.shape[1] - 2 * rows + 1
    hankel_u, hankel_y = (
        x.unfold(1, columns, 1).flatten(1, 2) for x in (u, y)
    )  # row t * channels + k holds channel k from step t on
    past = torch.cat([hankel_u[:, : rows * a], hankel_y[:, : rows * p]], 1)
    stacked = torch.cat([hankel_u[:, rows * a :], past, hankel_y[:, rows * p :]], 1)
    lower = torch.linalg.qr(stacked.mT, mode="r").R.mT
    first, second = rows * a, rows * a + past.shape[1]
    left = torch.linalg.svd(lower[:, second:, first:second], full_matrices=False).U
    models = []
    for n in orders:
        observability = left[:, :, :n]
        A = _stable(torch.linalg.pinv(observability[:, :-p]) @ observability[:, p:])
        models.append(_complete(A, observability[:, :p], u, y))
    return models


def _stable(A: Tensor) -> Tensor:
    """Return matrices whose eigenvalues of size above 1 are reflected into the unit circle."""
    values, vectors = torch.linalg.eig(A)
    outside = values.abs() > 1
    if not bool(outside.any()):
        return A
    inside = torch.where(outside, 1 / values.conj(), values)
    moved = torch.linalg.solve(vectors, vectors * inside[:, None], left=False).real
    return torch.where(outside.any(1)[:, None, None], moved, A)


def _complete(A: Tensor, C: Tensor, u: Tensor, y: Tensor) -> StateSpace:
    """Return the model with the B, D and x0 that simulate best."""
    count, n, a, p = len(A), A.shape[1], u.shape[2], y.shape[2]
    free = C  # C A^t
    forced = A.new_zeros(count, a, p, n)  # sum over k < t of u_k C A^(t-1-k), for each input
    blocks = []
    for step in u.unbind(1):
        direct = step[:, None, :, None] * torch.eye(p, dtype=A.dtype, device=A.device)[None, :, None]
        blocks.append(torch.cat([free, forced.transpose(1, 2).flatten(2), direct.flatten(2)], 2))
        forced = forced @ A[:, None] + step[:, :, None, None] * C[:, None]
        free = free @ A
    x = torch.stack(blocks, 1).flatten(1, 2)
    solution = _least_squares(x, y.flatten(1)[..., None])[..., 0]
    x0, B, D = solution.split([n, a * n, a * p], 1)
    return StateSpace(A=A, B=B.reshape(count, a, n).mT, C=C, D=D.reshape(count, a, p).mT, x0=x0)


def _least_squares(x: Tensor, y: Tensor) -> Tensor:
    """Solve by QR, with a penalty at the level of rounding so that the triangle is never singular."""
    penalty = (
        1e-10 * x.square().sum((1, 2), keepdim=True).sqrt() * torch.eye(x.shape[2], dtype=x.dtype, device=x.device)
    )
    q, r = torch.linalg.qr(torch.cat([x, penalty], 1))
    return torch.linalg.solve_triangular(r, q[:, : x.shape[1]].mT @ y, upper=True)
