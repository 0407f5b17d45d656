"""Our subspace method beside that of nfoursid, a maintained package (N4SID on the same projection)."""

import numpy as np
import pandas as pd
import pytest
import torch
from nfoursid.nfoursid import NFourSID

from dynarium.systems.identification import RandomLti
from dynarium.systems.lti import LinearLaw
from dynarium.tasks.subspace import fit_subspace

ORDER, ROWS = 3, 10


def markov(*system):
    """Return D, C B, C A B, .. of a state-space model."""
    A, B, C, D = system
    found = [D]
    for _ in range(20):
        found.append(C @ B)
        B = A @ B
    return np.stack(found)


def ours(u, y):
    (model,) = fit_subspace(u, y, [ORDER], ROWS)
    parts = (part.numpy() for part in (model.A, model.B, model.C, model.D))
    return [markov(*system) for system in zip(*parts, strict=True)]


def theirs(u, y):
    frame = pd.DataFrame({f"{name}{k}": x[:, k].numpy() for name, x in (("u", u), ("y", y)) for k in range(x.shape[1])})
    outputs, inputs = ([name for name in frame if name[0] == kind] for kind in "yu")
    fit = NFourSID(frame, outputs, inputs, ROWS)
    fit.subspace_identification()
    system, _ = fit.system_identification(ORDER)
    return markov(system.a, system.b, system.c, system.d)


def size(x):
    return float(np.linalg.norm(x))


@pytest.mark.parametrize("channels", [1, 2])
def test_it_finds_what_nfoursid_finds(channels):
    world = RandomLti(law=LinearLaw(order=ORDER), inputs=channels, outputs=channels, steps=400, standardise=False)
    generator = torch.Generator().manual_seed(0)
    drawn = world.simulate(world.sample_parameters(6, generator), 400, generator)
    u, y = drawn.action, drawn.observation
    noisy = y + 0.1 * y.std(1, keepdim=True) * torch.randn(y.shape, dtype=y.dtype, generator=generator)
    for k, (true, found) in enumerate(zip(ours(u, y), ours(u, noisy), strict=True)):
        assert size(theirs(u[k], y[k]) - true) < 1e-8 * size(true)
        other = theirs(u[k], noisy[k])
        assert size(found - true) < 0.05 * size(true)
        assert size(found - other) < 0.03 * size(true)
