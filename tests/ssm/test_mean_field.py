"""The mean-field bound against dense Gaussian algebra and against all paths; the collapse at its exact ends."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from dynarium.ssm import kalman_filter
from dynarium.ssm.discrete import forward_backward
from dynarium.ssm.mean_field import Regimes, collapse, mean_field_bound

N, P, K, T = 3, 2, 2, 4


def regimes_of(k=K, control=0, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    root = torch.eye(N, dtype=torch.float64) * 0.5 + 0.2 * normal(k, N, N).tril()
    spread = normal(P, P)
    return Regimes(
        A=0.7 * normal(k, N, N),
        B=normal(k, N, control) if control else None,
        C=normal(k, P, N),
        root=root,
        R=0.3 * torch.eye(P, dtype=torch.float64) + 0.1 * spread @ spread.T,
        m0=torch.zeros(N, dtype=torch.float64),
        P0=2 * torch.eye(N, dtype=torch.float64),
    )


def data_of(b=2, t=T, control=0, seed=1):
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(b, t, P, generator=g, dtype=torch.float64)
    u = torch.randn(b, t, control, generator=g, dtype=torch.float64) if control else None
    return y, u


def dense_bound(regimes, weights, y, mask, u):
    """The same integral by one quadratic form over z_1 .. z_T of a single sequence; all steps up to the last observed."""
    last = max(t for t in range(len(y)) if mask[t]) + 1
    J, h, c = torch.zeros(last * N, last * N).double(), torch.zeros(last * N).double(), 0.0

    def add(rows, offset, cov, share):
        """Add share * log N(rows z + offset; 0, cov)."""
        nonlocal c
        inverse = torch.linalg.inv(cov)
        J.add_(share * rows.T @ inverse @ rows)
        h.sub_(share * rows.T @ inverse @ offset)
        c = c + share * MultivariateNormal(torch.zeros(len(cov)).double(), cov).log_prob(offset)

    def block(t, matrix):
        rows = torch.zeros(len(matrix), last * N).double()
        rows[:, t * N : (t + 1) * N] = matrix
        return rows

    eye = torch.eye(N).double()
    add(block(0, eye), -regimes.m0, regimes.P0, 1.0)
    for t, k in itertools.product(range(last), range(weights.shape[-1])):
        if t > 0:
            push = torch.zeros(N).double() if u is None else regimes.B[k] @ u[t]
            rows = block(t, eye) - block(t - 1, regimes.A[k])
            add(rows, -push, regimes.root[k] @ regimes.root[k].T, weights[t, k])
        if mask[t]:
            add(block(t, regimes.C[k]), -y[t], regimes.R, weights[t, k])
    # int exp(c - z'Jz/2 + h'z) dz
    quadratic = 0.5 * h @ torch.linalg.solve(J, h)
    return c + quadratic + 0.5 * len(h) * math.log(2 * math.pi) - 0.5 * torch.logdet(J)


@pytest.mark.parametrize("control", [0, 2])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_bound_is_the_integral(control, k):
    regimes, (y, u) = regimes_of(k, control), data_of(control=control)
    weights = torch.randn(2, T, k, generator=torch.Generator().manual_seed(2)).double().softmax(-1)
    for mask in (None, torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0]], dtype=torch.bool)):
        bound = mean_field_bound(regimes, weights, y, mask, u)
        seen = torch.ones(2, T, dtype=torch.bool) if mask is None else mask
        for i in range(2):
            wanted = dense_bound(regimes, weights[i], y[i], seen[i], None if u is None else u[i])
            torch.testing.assert_close(bound[i], wanted, rtol=1e-9, atol=1e-9)


def test_a_certain_path_is_exact():
    regimes, (y, _) = regimes_of(), data_of()
    path = torch.tensor([[0, 1, 1, 0], [1, 1, 0, 1]])
    weights = torch.nn.functional.one_hot(path, K).double()
    wanted = kalman_filter(collapse(regimes, weights), y).log_likelihood.sum(1)
    torch.testing.assert_close(mean_field_bound(regimes, weights, y), wanted, rtol=1e-9, atol=1e-9)


def test_it_bounds_the_sum_over_all_paths():
    """Bound - KL <= log sum_s p(s) p(y | s), and the bound is below E_q[log p(y | s)], with slack where q is unsure."""
    regimes, (y, _) = regimes_of(), data_of()
    g = torch.Generator().manual_seed(3)
    initial = torch.randn(K, generator=g).double().log_softmax(-1)
    transition = torch.randn(K, K, generator=g).double().log_softmax(-1)
    paths = list(itertools.product(range(K), repeat=T))
    log_prior = torch.stack([initial[s[0]] + sum(transition[i, j] for i, j in itertools.pairwise(s)) for s in paths])
    each = torch.stack(
        [
            kalman_filter(
                collapse(regimes, torch.nn.functional.one_hot(torch.tensor(s), K).double().expand(2, T, K)), y
            ).log_likelihood.sum(1)
            for s in paths
        ],
        1,
    )
    exact = (log_prior + each).logsumexp(1)
    for size in (0.1, 1.0, 5.0):
        potential = size * torch.randn(2, T, K, generator=g).double()
        q = forward_backward(initial, transition, potential)
        tilt = torch.stack([sum(potential[:, t, s[t]] for t in range(T)) for s in paths], 1)
        log_path = (log_prior + tilt).log_softmax(1)
        divergence = (log_path.exp() * (log_path - log_prior)).sum(1)
        bound = mean_field_bound(regimes, q.probability, y)
        assert (bound <= (log_path.exp() * each).sum(1) + 1e-9).all()
        assert (bound - divergence < exact).all()


def test_what_is_hidden_and_what_comes_after_cannot_matter():
    regimes, (y, u) = regimes_of(3, control=2), data_of(t=6, control=2)
    weights = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(2)).double().softmax(-1)
    mask = torch.tensor([[1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)
    whole = mean_field_bound(regimes, weights, y, mask, u)
    broken = torch.where(mask[..., None], y, float("nan"))
    assert torch.equal(whole, mean_field_bound(regimes, weights, broken, mask, u))
    cut = mean_field_bound(regimes, weights[:, :4], y[:, :4], mask[:, :4], u[:, :4])
    torch.testing.assert_close(whole, cut, rtol=1e-12, atol=1e-12)


def test_gradients():
    regimes, (y, _) = regimes_of(), data_of(t=3)
    mask = torch.tensor([[1, 0, 1], [1, 1, 0]], dtype=torch.bool)
    logits = torch.randn(2, 3, K, generator=torch.Generator().manual_seed(2)).double().requires_grad_()

    def bound(A, C, root, logits):
        changed = Regimes(A=A, C=C, root=root.tril(), R=regimes.R, m0=regimes.m0, P0=regimes.P0)
        return mean_field_bound(changed, logits.softmax(-1), y, mask)

    inputs = [x.clone().requires_grad_() for x in (regimes.A, regimes.C, regimes.root)]
    assert torch.autograd.gradcheck(bound, (*inputs, logits))


def test_certain_weights_have_a_finite_gradient():
    regimes, (y, _) = regimes_of(), data_of()
    logits = torch.tensor([500.0, -500.0]).double().expand(2, T, K).clone().requires_grad_()
    mean_field_bound(regimes, logits.softmax(-1), y).sum().backward()
    assert logits.grad.isfinite().all()


def test_equal_regimes_do_not_disagree():
    one, (y, _) = regimes_of(1), data_of()
    same = Regimes(
        A=one.A.repeat(3, 1, 1), C=one.C.repeat(3, 1, 1), root=one.root.repeat(3, 1, 1), R=one.R, m0=one.m0, P0=one.P0
    )
    weights = torch.randn(2, T, 3).double().softmax(-1)
    alone = mean_field_bound(one, torch.ones(2, T, 1).double(), y)
    torch.testing.assert_close(mean_field_bound(same, weights, y), alone, rtol=1e-9, atol=1e-9)
