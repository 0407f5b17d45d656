"""Tilted chains against the enumeration of all paths; relaxed paths against the marginals."""

import itertools

import torch

from dynarium.ssm.tilted import TiltedChain, relaxed_path


def chain_of(b=2, t=4, k=3, seed=0):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    return TiltedChain(
        log_initial=normal(k).log_softmax(-1),
        log_transition=normal(b, t - 1, k, k).log_softmax(-1),
        potential=2 * normal(b, t, k),
    )


def test_divergence_and_marginals_are_those_of_all_paths():
    chain, t, k = chain_of(), 4, 3
    q = chain.posterior()
    paths = torch.tensor(list(itertools.product(range(k), repeat=t)))
    log_p = chain.log_initial[paths[:, 0]].repeat(2, 1)
    for i in range(t - 1):
        log_p = log_p + chain.log_transition[:, i][:, paths[:, i], paths[:, i + 1]]
    torch.testing.assert_close(log_p.logsumexp(1), torch.zeros(2).double(), rtol=0, atol=1e-12)
    tilt = torch.stack([chain.potential[:, i, paths[:, i]] for i in range(t)], -1).sum(-1)
    log_q = (log_p + tilt).log_softmax(1)
    wanted = (log_q.exp() * (log_q - log_p)).sum(1)
    assert (wanted > 0.1).all()
    torch.testing.assert_close(chain.divergence(q), wanted, rtol=1e-12, atol=1e-12)
    for i in range(t):
        chosen = torch.nn.functional.one_hot(paths[:, i], k).double()
        torch.testing.assert_close(q.probability[:, i], log_q.exp() @ chosen, rtol=1e-12, atol=1e-12)


def test_untilted_steps_and_constants_cost_nothing():
    chain = chain_of()
    flat = TiltedChain(
        log_initial=chain.log_initial,
        log_transition=chain.log_transition,
        potential=torch.randn(2, 4, 1).double().expand(2, 4, 3),
    )
    torch.testing.assert_close(flat.divergence(flat.posterior()), torch.zeros(2).double(), rtol=0, atol=1e-12)


def test_the_gradient_of_the_divergence():
    chain = chain_of(t=3)

    def divergence(initial, transition, potential):
        tilted = TiltedChain(
            log_initial=initial.log_softmax(-1), log_transition=transition.log_softmax(-1), potential=potential
        )
        return tilted.divergence(tilted.posterior())

    inputs = (chain.log_initial, chain.log_transition, chain.potential)
    assert torch.autograd.gradcheck(divergence, tuple(x.clone().requires_grad_() for x in inputs))


def test_relaxed_paths_are_those_of_the_posterior():
    """At a low temperature they are nearly hard, with the marginals and pairs of q; at a high one they are soft."""
    chain, n = chain_of(b=1), 20_000
    many = TiltedChain(
        log_initial=chain.log_initial,
        log_transition=chain.log_transition.repeat(n, 1, 1, 1),
        potential=chain.potential.repeat(n, 1, 1),
    )
    q, drawn_from = chain.posterior(), many.posterior()
    torch.manual_seed(0)
    path = relaxed_path(drawn_from, 0.01)
    assert path.sum(-1).sub(1).abs().max() < 1e-5
    assert path.max(-1).values.mean() > 0.98
    assert (path.mean(0) - q.probability[0]).abs().max() < 0.02
    pairs = torch.einsum("bti,btj->tij", path[:, :-1], path[:, 1:]) / n
    assert (pairs - q.pair[0]).abs().max() < 0.02
    assert relaxed_path(drawn_from, 5.0).max(-1).values.mean() < 0.8
