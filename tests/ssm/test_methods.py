"""Every way to run the recursions gives the same results and exact gradients; masks are deletions."""

import inspect
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynarium.errors import UserError
from dynarium.ssm import LinearGaussian, fused, kalman_filter, rts_smoother, update_step, with_gaps
from dynarium.ssm.adjoint import resolve

METHODS = ["loop", "scan", "fused"]
OUTPUTS = ("mean", "cov", "predicted_mean", "predicted_cov", "log_likelihood")


def spd(*shape, generator):
    root = torch.randn(*shape, shape[-1], dtype=torch.float64, generator=generator)
    return root @ root.mT / shape[-1] + 0.1 * torch.eye(shape[-1], dtype=torch.float64)


def problem(seed, b=3, t=7, n=3, p=2, lead=None):
    g = torch.Generator().manual_seed(seed)
    lead = (b, t) if lead is None else lead
    model = LinearGaussian(
        A=0.6 * torch.randn(*lead, n, n, dtype=torch.float64, generator=g),
        C=torch.randn(*lead, p, n, dtype=torch.float64, generator=g),
        Q=spd(*lead, n, generator=g),
        R=spd(*lead, p, generator=g),
        m0=torch.randn(n, dtype=torch.float64, generator=g),
        P0=spd(n, generator=g),
    )
    y = torch.randn(b, t, p, dtype=torch.float64, generator=g)
    mask = torch.rand(b, t, p, generator=g) > 0.3
    return model, y, mask


def infer(model, y, mask=None, method="auto", **options):
    filtered = kalman_filter(model, y, mask, method=method, **options)
    smoothed = rts_smoother(model, filtered, method=method)
    return [getattr(filtered, name) for name in OUTPUTS] + [smoothed.mean, smoothed.cov, smoothed.cross_cov]


def textbook(model, y, mask):
    """Filter and smoother by definition: matrices with rows deleted, inverses, and autograd's tape."""
    b, t, _ = y.shape
    n = model.A.shape[-1]
    A, C, Q, R = (x.expand(b, t, *x.shape[-2:]) for x in (model.A, model.C, model.Q, model.R))
    results = []
    for i in range(b):
        m, P, rows = model.m0, model.P0, []
        for s in range(t):
            if s:
                m, P = A[i, s] @ m, A[i, s] @ P @ A[i, s].T + Q[i, s]
            mp, Pp, ll = m, P, y.new_zeros(())
            keep = mask[i, s].nonzero().squeeze(1)
            if len(keep):
                c, r = C[i, s][keep], R[i, s][keep][:, keep]
                S = c @ P @ c.T + r
                ll = torch.distributions.MultivariateNormal(c @ m, S).log_prob(y[i, s][keep])
                K = P @ c.T @ torch.linalg.inv(S)
                m, P = m + K @ (y[i, s][keep] - c @ m), P - K @ S @ K.T
            rows.append((m, P, mp, Pp, ll))
        smooth, cross = [rows[-1][:2]], []
        for s in range(t - 2, -1, -1):
            G = rows[s][1] @ A[i, s + 1].T @ torch.linalg.inv(rows[s + 1][3])
            ms, Ps = smooth[-1]
            cross.append(Ps @ G.T)
            smooth.append((rows[s][0] + G @ (ms - rows[s + 1][2]), rows[s][1] + G @ (Ps - rows[s + 1][3]) @ G.T))
        parts = [torch.stack(part) for part in zip(*rows, strict=True)]
        parts += [torch.stack(part[::-1]) for part in zip(*smooth, strict=True)]
        results.append([*parts, torch.stack(cross[::-1]) if cross else y.new_zeros(0, n, n)])
    return [torch.stack(part) for part in zip(*results, strict=True)]


def close(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


def gradients(outputs, leaves, seed=0):
    """Gradients of a random linear function of all outputs, covariances weighed symmetrically."""
    g = torch.Generator().manual_seed(seed)
    weights = [torch.randn(x.shape, dtype=x.dtype, generator=g) for x in outputs]
    value = sum((w * x).sum() for w, x in zip(weights, outputs, strict=True))
    return torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True)


def leaves_of(model, y):
    """The model made of free leaves: covariances by their roots."""
    leaves = [model.A, model.C, *(torch.linalg.cholesky(x) for x in (model.Q, model.R, model.P0)), model.m0, y]
    leaves = [x.detach().clone().requires_grad_() for x in leaves]
    A, C, q, r, p, m0, y = leaves
    return leaves, LinearGaussian(A=A, C=C, Q=q @ q.mT, R=r @ r.mT, m0=m0, P0=p @ p.mT), y


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("t", "n", "p", "lead"), [(1, 3, 2, None), (2, 2, 1, ()), (7, 3, 2, None), (6, 2, 3, (6,))])
def test_results_and_gradients_equal_the_textbook(method, t, n, p, lead):
    model, y, mask = problem(t, t=t, n=n, p=p, lead=lead)
    leaves, model, y = leaves_of(model, y)
    expected, found = textbook(model, y, mask), infer(model, y, mask, method)
    for a, b in zip(found, expected, strict=True):
        close(a, b)
    for a, b in zip(gradients(found, leaves), gradients(expected, leaves), strict=True):
        close(a, b, 1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_every_argument(method):
    model, y, mask = problem(2, b=2, t=3, n=2)
    g = torch.Generator().manual_seed(0)
    u, B, D = (torch.randn(*size, dtype=torch.float64, generator=g) for size in ((2, 3, 1), (2, 1), (2, 1)))
    leaves, _, _ = leaves_of(model, y)

    def outputs(A, C, q, r, root, m0, y, B, D, u):
        model = LinearGaussian(A=A, C=C, Q=q @ q.mT, R=r @ r.mT, m0=m0, P0=root @ root.mT, B=B, D=D)
        return tuple(infer(model, y, mask, method, u=u))

    assert torch.autograd.gradcheck(outputs, (*leaves, *(x.requires_grad_() for x in (B, D, u))), fast_mode=True)


def test_gradients_of_one_update():
    model, y, mask = problem(4, b=3, t=1)
    root = torch.linalg.cholesky(model.P0).expand(3, 3, 3)
    inputs = [x.detach().clone().requires_grad_() for x in (model.m0.expand(3, 3), root, y[:, 0], model.C[:, 0])]

    def update(m, root, y, C):
        return update_step(m, root @ root.mT, y, C, model.R[:, 0], mask[:, 0])

    assert torch.autograd.gradcheck(update, inputs)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from(["loop", "scan", "auto"]))
def test_masked_steps_are_deleted_steps(seed, method):
    """Steps masked in between, and the same sequences without them and with longer gaps: one likelihood, one posterior."""
    model, y, _ = problem(seed, b=1, t=9, lead=())
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(1, 9, generator=g) > 0.5
    mask[:, 0] = True
    kept = mask[0].nonzero().squeeze(1)
    leaves, model, y = leaves_of(model, y)
    gaps = torch.cat([torch.ones(1, dtype=torch.long), kept.diff()])
    found = infer(model, y, mask, method)
    deleted = infer(with_gaps(model, gaps), y[:, kept], None, method)
    chosen = [x[:, kept] for x in found[:-1]]
    for a, b in zip(chosen, deleted[:-1], strict=True):
        close(a, b)
    assert (found[4][~mask] == 0).all()
    for a, b in zip(gradients(chosen, leaves), gradients(deleted[:-1], leaves), strict=True):
        close(a, b, 1e-8)


@settings(max_examples=10)
@given(st.integers(0, 10_000), st.sampled_from(["loop", "scan", "auto"]))
def test_a_masked_dimension_is_a_deleted_one(seed, method):
    model, y, _ = problem(seed, p=3)
    mask = torch.tensor([True, False, True])
    leaves, model, y = leaves_of(model, y)
    fewer = replace(model, C=model.C[..., mask, :], R=model.R[..., mask, :][..., mask])
    found = infer(model, y, mask.expand(y.shape), method)
    deleted = infer(fewer, y[..., mask], None, method)
    for a, b in zip(found, deleted, strict=True):
        close(a, b)
    for a, b in zip(gradients(found, leaves), gradients(deleted, leaves), strict=True):
        close(a, b, 1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_unequal_lengths_are_shorter_sequences(method):
    model, y, mask = problem(11)
    lengths = torch.tensor([7, 4, 1])
    junk = y.where(torch.arange(7)[:, None] < lengths[:, None, None], float("nan"))
    found = infer(model, junk, mask, method, lengths=lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = replace(model, **{f: getattr(model, f)[i : i + 1, :length] for f in "ACQR"})
        short = infer(alone, y[i : i + 1, :length], mask[i : i + 1, :length], method)
        for a, b in zip(found, short, strict=True):
            close(a[i : i + 1, : b.shape[1]], b)


def test_gaps_are_powers_and_sums():
    model, _, _ = problem(5, lead=())
    B = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gaps = torch.tensor([[1, 0, 1, 2, 5], [3, 7, 8, 1, 0]])
    found = with_gaps(replace(model, B=B), gaps)
    for index in [(i, j) for i in range(2) for j in range(5)]:
        powers = [torch.linalg.matrix_power(model.A, i) for i in range(int(gaps[index]))]
        close(found.A[index], torch.linalg.matrix_power(model.A, int(gaps[index])))
        close(found.Q[index], sum((x @ model.Q @ x.T for x in powers), torch.zeros(3, 3, dtype=torch.float64)))
        close(found.B[index], sum((x @ B for x in powers), torch.zeros(3, 2, dtype=torch.float64)))
    with pytest.raises(UserError, match="gaps: 0 or more steps wanted, got -1"):
        with_gaps(model, torch.tensor([1, -1]))
    with pytest.raises(UserError, match="A: the same at every step"):
        with_gaps(found, gaps)


@pytest.mark.parametrize("method", METHODS)
def test_batches_beyond_one_block_of_lanes(method):
    model, y, mask = problem(3, b=37, t=4)
    together = infer(model, y, mask, method)
    for i in (0, 15, 16, 36):
        alone = replace(model, **{f: getattr(model, f)[i : i + 1] for f in "ACQR"})
        for a, b in zip(together, infer(alone, y[i : i + 1], mask[i : i + 1], method), strict=True):
            close(a[i : i + 1], b, 1e-12)


def test_threads_share_the_batch():
    model, y, mask = problem(3, b=40, t=5)
    one = infer(model, y, mask, "fused")
    before, threads = fused.STEPS_PER_THREAD, torch.get_num_threads()
    try:
        fused.STEPS_PER_THREAD = 1
        torch.set_num_threads(3)
        for a, b in zip(one, infer(model, y, mask, "fused"), strict=True):
            assert torch.equal(a, b)
    finally:
        fused.STEPS_PER_THREAD = before
        torch.set_num_threads(threads)


def test_bad_methods_say_what_was_wanted():
    model, y, _ = problem(0)
    with pytest.raises(UserError, match="'auto', 'fused', 'loop' or 'scan' wanted, got 'fast'"):
        inspect.unwrap(resolve)("fast", y)  # past the type checker of the tests
    with pytest.raises(UserError, match="'fused'"):
        kalman_filter(replace(model, A=model.A.float()), y, method="fused")


def naive(model, y):
    """The textbook's covariance update, (I - K C) P, and S inverted as a matrix."""
    m, P, out = model.m0, model.P0, []
    eye = torch.eye(len(m), dtype=m.dtype)
    for s in range(y.shape[1]):
        if s:
            m, P = model.A @ m, model.A @ P @ model.A.T + model.Q
        K = P @ model.C.T @ torch.linalg.inv(model.C @ P @ model.C.T + model.R)
        m, P = m + K @ (y[0, s] - model.C @ m), (eye - K @ model.C) @ P
        out.append(P)
    return torch.stack(out)


def ill_conditioned(t):
    """Position and velocity, P0 = 1000, two position sensors with R = 1e-6 that see nearly the same, hardly any noise."""
    g = torch.Generator().manual_seed(0)
    dt = 0.01
    model = LinearGaussian(
        A=torch.tensor([[1.0, dt], [0.0, 1.0]]),
        C=torch.tensor([[1.0, 0.0], [1.0, 1e-3]]),
        Q=1e-6 * torch.tensor([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]),
        R=1e-6 * torch.eye(2),
        m0=torch.zeros(2),
        P0=1000 * torch.eye(2),
    )
    y = torch.sin(torch.arange(t) * dt / 10)[None, :, None] + 1e-3 * torch.randn(1, t, 2, generator=g)
    return model, y


def doubled(model):
    return replace(model, **{f: getattr(model, f).double() for f in ("A", "C", "Q", "R", "m0", "P0")})


@pytest.mark.parametrize("method", METHODS)
def test_float32_stays_right_where_the_naive_update_fails(method):
    model, y = ill_conditioned(1000 if method == "loop" else 10_000)
    exact = infer(doubled(model), y.double(), None, method)
    found = infer(model, y, None, method)
    for name, a, b in zip((*OUTPUTS, "smoothed mean", "smoothed cov", "cross"), found, exact, strict=True):
        assert a.isfinite().all(), name
        # means relative to the largest, covariances each relative to its own largest entry
        over = tuple(range(2, a.ndim)) if a.ndim == 4 else tuple(range(a.ndim))
        assert ((a - b).abs().amax(over) / b.abs().amax(over)).max() < 5e-4, name
        if "cov" in name:
            assert torch.linalg.eigvalsh(a.double()).min() > 0, name
    P = naive(model, y[:, :1000])
    assert P.diagonal(dim1=-2, dim2=-1).min() < 0  # a negative variance
