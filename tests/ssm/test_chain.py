import pytest
import torch

from dynarium.ssm import LinearGaussian, kalman_filter, rts_smoother
from dynarium.ssm.chain import Chain, solve_chain

B, T, N, P = 2, 6, 3, 2


def spd(*shape, g, scale=1.0):
    root = torch.randn(*shape, generator=g, dtype=torch.float64)
    return scale * (root @ root.mT + torch.eye(shape[-1], dtype=torch.float64))


@pytest.fixture
def chain():
    g = torch.Generator().manual_seed(0)
    below = 0.3 * torch.randn(B, T - 1, N, N, generator=g, dtype=torch.float64)
    linear = torch.randn(B, T, N, generator=g, dtype=torch.float64)
    return Chain(diagonal=spd(B, T, N, N, g=g) + 2 * torch.eye(N), below=below, linear=linear)


def test_against_the_dense_inverse(chain):
    dense = torch.zeros(B, T * N, T * N, dtype=torch.float64)
    for t in range(T):
        here = slice(t * N, (t + 1) * N)
        dense[:, here, here] = chain.diagonal[:, t]
        if t + 1 < T:
            there = slice((t + 1) * N, (t + 2) * N)
            dense[:, there, here] = chain.below[:, t]
            dense[:, here, there] = chain.below[:, t].mT
    cov = dense.inverse()
    found, log_det = solve_chain(chain)
    torch.testing.assert_close(found.mean.flatten(1), (cov @ chain.linear.flatten(1)[..., None])[..., 0])
    torch.testing.assert_close(log_det.sum(1), torch.logdet(dense))
    for t in range(T):
        here = slice(t * N, (t + 1) * N)
        torch.testing.assert_close(found.cov[:, t], cov[:, here, here])
        if t + 1 < T:
            there = slice((t + 1) * N, (t + 2) * N)
            torch.testing.assert_close(found.cross_cov[:, t], cov[:, there, here])


def test_against_the_smoother_with_missing_steps():
    g = torch.Generator().manual_seed(1)
    A = 0.5 * torch.randn(T, N, N, generator=g, dtype=torch.float64)
    C = torch.randn(P, N, generator=g, dtype=torch.float64)
    Q, R, P0 = spd(T, N, N, g=g), spd(P, P, g=g), spd(N, N, g=g)
    m0 = torch.randn(N, generator=g, dtype=torch.float64)
    y = torch.randn(B, T, P, generator=g, dtype=torch.float64)
    mask = torch.rand(B, T, generator=g) > 0.4
    model = LinearGaussian(A=A, C=C, Q=Q, R=R, m0=m0, P0=P0)
    wanted = rts_smoother(model, kalman_filter(model, y, mask=mask))
    W = Q.inverse()
    seen = mask[..., None, None].double()
    diagonal = seen * (C.mT @ R.inverse() @ C) + 0.0
    linear = mask[..., None] * (y @ R.inverse() @ C)
    diagonal[:, 0] += P0.inverse()
    linear[:, 0] += P0.inverse() @ m0
    diagonal[:, 1:] += W[1:]
    diagonal[:, :-1] += A[1:].mT @ W[1:] @ A[1:]
    below = -(W[1:] @ A[1:]).expand(B, T - 1, N, N)
    found, _ = solve_chain(Chain(diagonal=diagonal, below=below, linear=linear))
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.cov, wanted.cov)
    torch.testing.assert_close(found.cross_cov, wanted.cross_cov)


def test_filling_up_changes_nothing(chain):
    short = Chain(diagonal=chain.diagonal[:, :4], below=chain.below[:, :3], linear=chain.linear[:, :4])
    diagonal, below, linear = chain.diagonal.clone(), chain.below.clone(), chain.linear.clone()
    diagonal[:, 4:], below[:, 3:], linear[:, 4:] = torch.eye(N, dtype=torch.float64), 0.0, 0.0
    wanted, log_det = solve_chain(short)
    found, filled = solve_chain(Chain(diagonal=diagonal, below=below, linear=linear))
    torch.testing.assert_close(found.mean[:, :4], wanted.mean)
    torch.testing.assert_close(found.cov[:, :4], wanted.cov)
    torch.testing.assert_close(filled.sum(1), log_det.sum(1))


def test_a_single_step_and_an_indefinite_precision(chain):
    one = Chain(diagonal=chain.diagonal[:, :1], below=chain.below[:, :0], linear=chain.linear[:, :1])
    found, _ = solve_chain(one)
    torch.testing.assert_close(found.cov, one.diagonal.inverse())
    assert found.cross_cov.shape == (B, 0, N, N)
    with pytest.raises(torch.linalg.LinAlgError):
        solve_chain(Chain(diagonal=-chain.diagonal, below=chain.below, linear=chain.linear))
