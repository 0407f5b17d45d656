"""The bank of filters: the compiled sweep and its adjoint against autograd's tape, one regime against the Kalman filter."""

import pytest
import torch

from dynarium.ssm import LinearGaussian, bank, bank_sweeps, kalman_filter, rts_smoother, tiles
from dynarium.ssm.bank import bank_predictions, filter_bank, smooth_bank
from dynarium.ssm.mean_field import Regimes

FIELDS = ("potential", "log_likelihood", "weights", "mean", "cov")


def problem(seed=0, b=3, t=6, k=3, n=3, p=2):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    eye = torch.eye(n, dtype=torch.float64)
    free = {
        "A": eye + 0.3 * normal(k, n, n),
        "B": normal(k, n, 1),
        "C": normal(k, p, n),
        "root": 0.5 * eye + (0.3 * normal(k, n, n)).tril(),
        "y": normal(b, t, p),
        "initial": normal(k).softmax(0),
        "transition": normal(b, t - 1, k, k).softmax(-1),
        "u": normal(b, t, 1),
        "tilt": normal(b, t, k),
    }
    fixed = {"R": 0.3 * torch.eye(p, dtype=torch.float64) + 0.05, "m0": normal(n), "P0": 2 * eye}
    return free, fixed, torch.rand(b, t, generator=g) > 0.3


def run(free, fixed, mask=None):
    regimes = Regimes(**{name: free[name] for name in ("A", "B", "C", "root")}, **fixed)
    return filter_bank(regimes, free["y"], free["initial"], free["transition"], mask, free["u"], free["tilt"])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("b", "t", "k", "n", "p"), [(3, 6, 3, 3, 2), (20, 4, 1, 4, 2), (17, 3, 4, 2, 3), (2, 1, 2, 2, 1)]
)
def test_the_sweep_is_the_tape(monkeypatch, masked, b, t, k, n, p):
    free, fixed, mask = problem(b=b, t=t, k=k, n=n, p=p)
    results = []
    for way in ("compiled", "taped"):
        leaves = {name: x.clone().requires_grad_() for name, x in free.items()}
        if way == "taped":
            monkeypatch.setattr(bank, "_compiles", lambda y: False)
        known = run(leaves, fixed, mask if masked else None)
        g = torch.Generator().manual_seed(5)
        for name in ("potential", "log_likelihood"):
            values = getattr(known, name)
            cotangent = torch.randn(values.shape, generator=g, dtype=torch.float64)
            (values * cotangent).sum().backward(retain_graph=True)
        results.append(([getattr(known, name) for name in FIELDS], [x.grad for x in leaves.values()]))
    for one, other in zip(*(values + grads for values, grads in results), strict=True):
        if one is None or other is None:  # one step: nothing leads into it
            assert (one is None or (one == 0).all()) and (other is None or (other == 0).all())
        else:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_one_regime_is_the_kalman_filter():
    free, fixed, mask = problem(k=1)
    free["tilt"] = torch.zeros_like(free["tilt"])
    known = run(free, fixed, mask)
    Q = free["root"][0] @ free["root"][0].T
    model = LinearGaussian(A=free["A"][0], B=free["B"][0], C=free["C"][0], Q=Q, **fixed)
    filtered = kalman_filter(model, free["y"], mask, free["u"])
    for one, other in ((known.mean, filtered.mean), (known.cov, filtered.cov)):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(known.log_likelihood, filtered.log_likelihood, rtol=1e-9, atol=1e-9)


def test_what_is_hidden_cannot_matter():
    free, fixed, mask = problem()
    known = run(free, fixed, mask)
    leaf = torch.where(mask[..., None], free["y"], torch.nan).requires_grad_()
    other = run(free | {"y": leaf}, fixed, mask)
    for name in FIELDS:
        assert torch.equal(getattr(known, name), getattr(other, name)), name
    other.log_likelihood.sum().backward()
    assert (leaf.grad[~mask] == 0).all() and (leaf.grad[mask] != 0).any()


def test_float32_stays_finite_where_a_regime_is_hopeless():
    free, fixed, _ = problem(t=40)
    free["C"][0] *= 1e3
    free["transition"][..., 1] = 0
    leaves = {name: x.float().requires_grad_() for name, x in free.items()}
    known = run(leaves, {name: x.float() for name, x in fixed.items()})
    known.log_likelihood.sum().backward()
    assert all(getattr(known, name).isfinite().all() for name in FIELDS)
    assert all(x.grad.isfinite().all() for x in leaves.values())


def test_numba_keeps_what_it_compiles_under_names_that_change_with_the_tiles():
    """Its cache looks at a function's own file only, and the tiles stand in another."""
    for function in (tiles.stamped(bank_sweeps.bank_sweep), bank_sweeps.predict.py_func, tiles.nn.py_func):
        assert function.__qualname__ == f"{function.__name__}_{tiles.STAMP}"


def test_the_smoother_is_exact_for_one_regime_and_counts_the_spread_of_several():
    """One regime: Rauch, Tung & Striebel. Two: the gain of the mixture's own joint Gaussian, written out for the last step."""
    free, fixed, mask = problem(k=1)
    free["tilt"] = torch.zeros_like(free["tilt"])
    regimes = Regimes(**{name: free[name] for name in ("A", "B", "C", "root")}, **fixed)
    known = run(free, fixed, mask)
    expected = bank_predictions(regimes, known, free["initial"], free["transition"], free["u"])
    smoothed = smooth_bank(regimes, known, expected)
    Q = free["root"][0] @ free["root"][0].T
    model = LinearGaussian(A=free["A"][0], B=free["B"][0], C=free["C"][0], Q=Q, **fixed)
    wanted = rts_smoother(model, kalman_filter(model, free["y"], mask, free["u"]))
    torch.testing.assert_close(smoothed.mean, wanted.mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(smoothed.cov, wanted.cov, rtol=1e-9, atol=1e-9)

    free, fixed, _ = problem(k=2, b=1)
    regimes = Regimes(**{name: free[name] for name in ("A", "B", "C", "root")}, **fixed)
    known = run(free, fixed)
    expected = bank_predictions(regimes, known, free["initial"], free["transition"], free["u"])
    smoothed = smooth_bank(regimes, known, expected)
    m, P, prior = known.mean[0, -2], known.cov[0, -2], known.weights[0, -2] @ free["transition"][0, -1]
    torch.testing.assert_close(expected.prior[0, -1], prior)
    means = torch.stack([free["A"][k] @ m + free["B"][k] @ free["u"][0, -1] for k in range(2)])
    covs = torch.stack([A @ P @ A.T + L @ L.T for A, L in zip(free["A"], free["root"], strict=True)])
    centre = prior @ means
    spread = sum(w * (S + torch.outer(x - centre, x - centre)) for w, S, x in zip(prior, covs, means, strict=True))
    G = P @ (prior[0] * free["A"][0] + prior[1] * free["A"][1]).T @ torch.linalg.inv(spread)
    torch.testing.assert_close(smoothed.mean[0, -2], m + G @ (known.mean[0, -1] - centre))
    torch.testing.assert_close(smoothed.cov[0, -2], P + G @ (known.cov[0, -1] - spread) @ G.T)
