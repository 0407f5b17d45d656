import pytest
import torch

from dynarium.objectives.vicreg import covariance_penalty, similarity, standard_deviation, variance_hinge


def samples(*shape, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def columns(z):
    n, d = z.shape
    return [[z[i, j].item() for i in range(n)] for j in range(d)]


def covariance(x, y):
    mx, my = sum(x) / len(x), sum(y) / len(y)
    return sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / (len(x) - 1)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_variance_is_the_hinge_written_out(scale):
    z = samples(3, 6, 4, scale=scale)
    wanted = [max(0.0, 1 - (covariance(x, x) + 1e-4) ** 0.5) for group in z for x in columns(group)]
    assert variance_hinge(z).item() == pytest.approx(sum(wanted) / 12, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("n", "d"), [(4, 7), (9, 5)], ids=["fewer samples", "more samples"])
def test_covariance_is_the_sum_written_out(n, d):
    z = samples(2, n, d)
    total = 0.0
    for group in z:
        x = columns(group)
        total += sum(covariance(x[i], x[j]) ** 2 for i in range(d) for j in range(d) if i != j) / d
    assert covariance_penalty(z).item() == pytest.approx(total / 2, rel=1e-12)


def test_similarity_and_standard_deviation():
    a, b = samples(2, 3, 4), samples(2, 3, 4).flip(0)
    pairs = list(zip(a.flatten().tolist(), b.flatten().tolist(), strict=True))
    assert similarity(a, b).item() == pytest.approx(sum((x - y) ** 2 for x, y in pairs) / len(pairs))
    spread = [covariance(x, x) ** 0.5 for x in columns(a[0])]
    assert standard_deviation(a[0]).item() == pytest.approx(sum(spread) / 4)


def test_a_collapse_has_a_finite_gradient():
    z = torch.ones(5, 3, dtype=torch.float64, requires_grad=True)
    loss = variance_hinge(z)
    loss.backward()
    assert loss.item() == pytest.approx(0.99) and z.grad.isfinite().all()
    assert standard_deviation(z) < 1e-100
