import pytest
import torch
from torch.distributions import Normal, kl_divergence

from dynarium.objectives.balancing import balanced_kl


def gaussians():
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(3, 4, 5, generator=generator, dtype=torch.float64) for _ in range(4)]
    return [x.requires_grad_() for x in drawn]


def literal(parameters):
    m, v, m0, v0 = parameters
    return kl_divergence(Normal(m, (0.5 * v).exp()), Normal(m0, (0.5 * v0).exp())).sum(-1).mean()


@pytest.mark.parametrize("balance", [0.0, 0.5, 0.8])
def test_value_and_gradient_above_the_free_nats(balance):
    p, q = gaussians(), gaussians()
    term, kl = balanced_kl((p[0], p[1]), (p[2], p[3]), balance, free_nats=0.5)
    wanted = literal(q)
    term.backward()
    wanted.backward()
    assert term.item() == pytest.approx(wanted.item()) and kl.item() == pytest.approx(wanted.item())
    for ours, plain, share in zip(p, q, (1 - balance, 1 - balance, balance, balance), strict=True):
        torch.testing.assert_close(ours.grad, share * plain.grad)


def test_the_free_nats_are_those_of_a_whole_step():
    p = gaussians()
    total = literal(p).item()
    term, kl = balanced_kl((p[0], p[1]), (p[2], p[3]), free_nats=1.01 * total)
    term.backward()
    assert term.item() == pytest.approx(1.01 * total) and kl.item() == pytest.approx(total)
    assert all(x.grad is None or not x.grad.any() for x in p)
    # A dimension has a fifth of it: free nats of a dimension would be above it here.
    term, _ = balanced_kl((p[0], p[1]), (p[2], p[3]), free_nats=0.9 * total)
    assert term.item() == pytest.approx(total)
