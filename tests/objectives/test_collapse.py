import pytest
import torch

from dynarium.objectives.collapse import effective_rank, mean_correlation, relative_to_copying


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40)])
def test_effective_rank_counts_equal_directions(n, d):
    left = torch.linalg.qr(torch.randn(n, 4, generator=torch.Generator().manual_seed(0)))[0]
    right = torch.linalg.qr(torch.randn(d, 4, generator=torch.Generator().manual_seed(1)))[0]
    assert effective_rank(3 * left @ right.T).item() == pytest.approx(4, rel=1e-3)
    p = torch.tensor([8.0, 4.0, 2.0, 1.0])
    p = p / p.sum()
    wanted = (-(p * p.log()).sum()).exp().item()
    assert effective_rank(left @ p.diag() @ right.T).item() == pytest.approx(wanted, rel=1e-3)
    assert effective_rank(torch.full((n, d), 3.7)).item() == pytest.approx(1, abs=1e-3)  # a collapse
    assert effective_rank(torch.zeros(n, d)) == 1


def test_effective_rank_is_that_of_the_spectrum_as_it_is():
    """As published, of the embeddings and not of their deviations from the mean."""
    z = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) + 2
    share = torch.linalg.svdvals(z.double())
    share = share / share.sum()
    assert effective_rank(z).item() == pytest.approx(float(torch.exp(-(share * share.log()).sum())), rel=1e-6)
    assert effective_rank(z) < effective_rank(z - z.mean(0)) - 1


def test_correlation_is_numpys():
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 4)
    wanted = torch.corrcoef(z.T).abs()
    assert mean_correlation(z).item() == pytest.approx((wanted.sum().item() - 4) / 12, rel=1e-4)
    assert mean_correlation(z[:, :1].repeat(1, 3)).item() == pytest.approx(1)


def test_copying_is_one():
    start, target = torch.randn(3, 2), torch.randn(3, 5, 2)
    assert relative_to_copying(start[:, None].expand(-1, 5, -1), target, start).item() == pytest.approx(1)
    assert relative_to_copying(target, target, start) == 0
