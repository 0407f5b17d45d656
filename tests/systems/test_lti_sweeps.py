import numpy as np
import pytest
import scipy.signal
import torch

from dynarium.systems.lti import LinearLaw
from dynarium.systems.lti_sweeps import CHUNK, LANES, modal_answer, network_answer, standardised_rows


def normal(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("count", "steps"), [(1, 1), (LANES + 3, CHUNK + 5), (40, 3 * CHUNK)])
def test_the_compiled_sweep_answers_like_the_matrices(count, steps):
    systems = LinearLaw(strictly_proper=False).draw(count, 1, 1, torch.Generator().manual_seed(3))
    u = normal(count, steps, 1)
    expected = systems.answer_in_chunks(u)
    torch.testing.assert_close(systems.answer(u), expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


def test_residues_are_those_of_the_transfer_function():
    systems = LinearLaw(random_order=False, order=6).draw(10, 1, 1, torch.Generator().manual_seed(1))
    pole, residue = systems.residues()
    for k in range(10):
        A = np.diag(systems.re[k].numpy())
        for i in np.flatnonzero(systems.im[k].numpy() > 0):
            A[i, i + 1], A[i + 1, i] = systems.im[k, i], -systems.im[k, i]
        z = np.exp(0.7j)
        expected = systems.c[k].numpy() @ np.linalg.solve(z * np.eye(6) - A, systems.b[k].numpy())
        # The real part over time is half the fraction and half its conjugate over the conjugate pole.
        p, r = pole[k].numpy(), residue[k].numpy()
        found = (r / (z - p) + r.conj() / (z - p.conj())).sum() / 2
        np.testing.assert_allclose(found, expected[0, 0], rtol=1e-9)


def test_no_sequence_depends_on_its_neighbours():
    systems = LinearLaw().draw(50, 1, 1, torch.Generator().manual_seed(0))
    pole, residue = systems.residues()
    u, d = normal(50, 100), systems.d[:, 0, 0]
    whole = modal_answer(u, pole, residue, d)
    some = torch.tensor([41, 7, 3, 20])
    assert torch.equal(modal_answer(u[some], pole[some], residue[some], d[some]), whole[some])


def test_the_network_is_that_of_tanh():
    x, w1, b1, w2, b2 = (
        3 * normal(5, 70),
        2 * normal(5, 32, seed=1),
        normal(5, 32, seed=2),
        normal(5, 32, seed=3),
        normal(5),
    )
    expected = ((x[..., None] * w1[:, None] + b1[:, None]).tanh() * w2[:, None]).sum(2) + b2[:, None]
    torch.testing.assert_close(network_answer(x, w1, b1, w2, b2), expected, rtol=0, atol=1e-13)
    far = 1e4 * x
    expected = ((far[..., None] * w1[:, None] + b1[:, None]).tanh() * w2[:, None]).sum(2) + b2[:, None]
    torch.testing.assert_close(network_answer(far, w1, b1, w2, b2), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("steps", "first"), [(5, 0), (100, 30), (16, 0), (45, 13)])
def test_rows_are_standardised_over_what_is_kept(steps, first):
    y = 5 + 2 * normal(7, steps)
    out = standardised_rows(y, first, 1e-6)
    kept = y[:, first:]
    expected = (y - kept.mean(1, keepdim=True)) / (kept.std(1, correction=0, keepdim=True) + 1e-6)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)


def test_a_simulated_system_against_scipy():
    systems = LinearLaw(order=3, random_order=False, strictly_proper=False).draw(
        4, 1, 1, torch.Generator().manual_seed(5)
    )
    u = normal(4, 80, 1)
    pole, residue = systems.residues()
    for k in range(4):
        p, r = pole[k].numpy(), residue[k].numpy()
        keep = r != 0
        z, poles = np.concatenate([r[keep] / 2, r[keep].conj() / 2]), np.concatenate([p[keep], p[keep].conj()])
        b, a = scipy.signal.invresz(z, poles, [])
        expected = (
            scipy.signal.lfilter(np.concatenate([[0], b.real]), a.real, u[k, :, 0])
            + float(systems.d[k]) * u[k, :, 0].numpy()
        )
        np.testing.assert_allclose(systems.answer(u)[k, :, 0], expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())
