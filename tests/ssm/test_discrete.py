import itertools

import pytest
import torch

from dynarium.ssm.discrete import forward_backward, viterbi

B, T, K = 3, 5, 3


@pytest.fixture
def chain():
    g = torch.Generator().manual_seed(0)
    options = {"generator": g, "dtype": torch.float64}
    return torch.randn(K, **options), torch.randn(B, T - 1, K, K, **options), 2 * torch.randn(B, T, K, **options)


def enumerated(initial, transition, evidence):
    """Scores of all K^T paths of one sequence, path by path."""
    paths = list(itertools.product(range(K), repeat=len(evidence)))
    scores = []
    for path in paths:
        score = initial[path[0]] + evidence[0, path[0]]
        for i in range(1, len(path)):
            score = score + transition[i - 1, path[i - 1], path[i]] + evidence[i, path[i]]
        scores.append(score)
    return torch.tensor(paths), torch.stack(scores)


def test_marginals_are_those_of_all_paths(chain):
    initial, transition, evidence = chain
    found = forward_backward(*chain)
    best = viterbi(*chain)
    for b in range(B):
        paths, scores = enumerated(initial, transition[b], evidence[b])
        weight = scores.softmax(0)
        torch.testing.assert_close(found.log_normaliser[b], scores.logsumexp(0))
        torch.testing.assert_close(found.entropy[b], -(weight * weight.log()).sum())
        assert torch.equal(best[b], paths[scores.argmax()])
        for t in range(T):
            for k in range(K):
                torch.testing.assert_close(found.probability[b, t, k], weight[paths[:, t] == k].sum())
        for t, i, j in itertools.product(range(T - 1), range(K), range(K)):
            torch.testing.assert_close(
                found.pair[b, t, i, j], weight[(paths[:, t] == i) & (paths[:, t + 1] == j)].sum()
            )


def test_shared_transitions_are_those_repeated(chain):
    initial, transition, evidence = chain
    one = transition[0, 0]
    a = forward_backward(initial, one, evidence)
    b = forward_backward(initial, one.expand(B, T - 1, K, K), evidence)
    torch.testing.assert_close(a.pair, b.pair)
    with pytest.raises(ValueError, match="4 steps wanted"):
        forward_backward(initial, transition[:, :2], evidence)


def test_a_length_is_a_cut(chain):
    initial, transition, evidence = chain
    lengths = torch.tensor([3, 5, 1])
    after = torch.arange(T) >= lengths[:, None]
    noisy, lost = evidence.clone(), transition.clone()
    noisy[after], lost[after[:, 1:]] = torch.nan, torch.nan
    found, path = forward_backward(initial, lost, noisy, lengths), viterbi(initial, lost, noisy, lengths)
    for b, n in enumerate(lengths.tolist()):
        whole = forward_backward(initial, transition[b : b + 1, : n - 1], evidence[b : b + 1, :n])
        torch.testing.assert_close(found.log_normaliser[b], whole.log_normaliser[0])
        torch.testing.assert_close(found.entropy[b], whole.entropy[0])
        torch.testing.assert_close(found.probability[b, :n], whole.probability[0])
        torch.testing.assert_close(found.pair[b, : n - 1], whole.pair[0])
        assert not found.pair[b, n - 1 :].any()
        assert torch.equal(path[b, :n], viterbi(initial, transition[b : b + 1, : n - 1], evidence[b : b + 1, :n])[0])


def test_forbidden_transitions(chain):
    initial, _, evidence = chain
    stay = torch.full((K, K), -torch.inf, dtype=torch.float64).fill_diagonal_(0.0)
    found = forward_backward(initial, stay, evidence)
    total = (initial + evidence.sum(1)).softmax(-1)
    torch.testing.assert_close(found.probability, total[:, None].expand(B, T, K))
    torch.testing.assert_close(found.entropy, -(total * total.log()).sum(-1))


def test_the_gradient_of_the_normaliser_is_the_marginal(chain):
    initial, transition, evidence = (x.clone().requires_grad_() for x in chain)
    found = forward_backward(initial, transition, evidence)
    slopes = torch.autograd.grad(found.log_normaliser.sum(), [initial, transition, evidence])
    torch.testing.assert_close(slopes[0], found.probability[:, 0].sum(0))
    torch.testing.assert_close(slopes[1], found.pair)
    torch.testing.assert_close(slopes[2], found.probability)


def test_a_long_chain_does_not_underflow():
    evidence = -1e3 * torch.rand(1, 2000, 2, generator=torch.Generator().manual_seed(0))
    found = forward_backward(torch.zeros(2), torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log(), evidence)
    assert found.log_normaliser.isfinite().all() and found.probability.isfinite().all()
    torch.testing.assert_close(found.probability.sum(-1), torch.ones(1, 2000))
