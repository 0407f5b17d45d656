import math

import numpy as np
import pytest
import scipy.signal
import torch

from dynarium.errors import UserError
from dynarium.systems.lti import LinearLaw, Modal


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def matrices(systems, k):
    re, im = systems.re[k].numpy(), systems.im[k].numpy()
    A = np.diag(re)
    for i in np.flatnonzero(im > 0):
        A[i, i + 1], A[i + 1, i] = im[i], -im[i]
    return A, systems.b[k].numpy(), systems.c[k].numpy(), systems.d[k].numpy()


@pytest.mark.parametrize("steps", [1, 7, 16, 103])
def test_answers_are_those_of_the_recurrence(steps):
    systems = LinearLaw(strictly_proper=False).draw(20, 2, 3, generator())
    u = torch.randn(20, steps, 2, dtype=torch.float64, generator=generator(1))
    y = systems.answer(u)
    for k in range(20):
        _, expected, _ = scipy.signal.dlsim((*matrices(systems, k), 1.0), u[k].numpy())
        np.testing.assert_allclose(y[k], expected, atol=1e-9 * np.abs(expected).max() + 1e-12)


def test_packing_keeps_everything():
    systems = LinearLaw(order=4, strictly_proper=False).draw(5, 2, 3, generator())
    back = Modal.unpacked(systems.packed(), 4, 2, 3)
    for name in ("re", "im", "b", "c", "d"):
        assert torch.equal(getattr(systems, name), getattr(back, name))


def test_poles_stay_in_their_ranges_and_pairs_are_whole():
    law = LinearLaw(magnitude=(0.4, 0.8), phase=(0.3, 1.0))
    systems = law.draw(2000, 1, 1, generator())
    pole = torch.complex(systems.re, systems.im)
    used = pole.abs() > 0
    assert pole.abs()[used].min() >= 0.4 - 1e-12 and pole.abs().max() <= 0.8 + 1e-12
    pairs = pole[systems.im > 0]
    assert pairs.angle().min() >= 0.3 - 1e-12 and pairs.angle().max() <= 1.0 + 1e-12
    first = systems.im > 0
    assert torch.equal(pole[:, 1:][first[:, :-1]], pole[:, :-1][first[:, :-1]].conj())
    assert int(first.sum()) == int((systems.im < 0).sum())
    assert (systems.re[used & (systems.im == 0)] > 0).all()


def poles_one_by_one(n, random):
    """The law as it reads, one system at a time."""
    poles, i = [], 0
    while i < n:
        if random.random() < 0.05 and i != 0 and i != n - 1:
            again = poles[-1:] if poles[-1].imag == 0 else poles[-2:]
        elif random.random() < 0.6 or i == n - 1:
            again = [complex(random.uniform(0.5, 0.97))]
        else:
            pole = random.uniform(0.5, 0.97) * np.exp(1j * random.uniform(0, math.pi / 2))
            again = [pole, pole.conjugate()]
        poles += again
        i += len(again)
    return poles


def test_poles_follow_the_law_of_one_by_one():
    random, n = np.random.default_rng(0), 10
    slow = np.array([poles_one_by_one(n, random) for _ in range(4000)])
    systems = LinearLaw(random_order=False).draw(4000, 1, 1, generator())
    fast = torch.complex(systems.re, systems.im).numpy()

    def summary(poles):
        repeats = [n - len(np.unique(row)) for row in poles]
        complexes = (poles.imag != 0).mean(0)
        return np.array([*complexes, np.mean(repeats) / 2, np.abs(poles).mean(), np.abs(np.angle(poles)).mean()])

    np.testing.assert_allclose(summary(fast), summary(slow), atol=0.035)


def test_orders_are_even_and_every_system_has_input_and_output():
    systems = LinearLaw().draw(4000, 1, 1, generator())
    order = (systems.re != 0).sum(1)
    counts = torch.bincount(order, minlength=11)[1:]
    assert counts.min() > 320 and counts.sum() == 4000
    assert (systems.b != 0).any(1).all() and (systems.c != 0).any(2).all()
    beyond = systems.re == 0
    assert (systems.b[..., 0][beyond] == 0).all() and (systems.c[:, 0][beyond] == 0).all()
    assert (systems.d == 0).all()


def test_feedthrough_of_an_entry_has_probability_015():
    d = LinearLaw(order=2, strictly_proper=False).draw(8000, 1, 1, generator()).d
    assert abs((d != 0).double().mean() - 0.15) < 0.015


@pytest.mark.parametrize("options", [{"order": 0}, {"magnitude": (0.5, 1.0)}, {"phase": (0.0, 4.0)}])
def test_bad_options(options):
    with pytest.raises(UserError, match=next(iter(options))):
        LinearLaw(**options)
