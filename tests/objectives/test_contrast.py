import math

import pytest
import torch

from dynarium.objectives.contrast import across_sequences, within_trajectory


def two_views(*shape):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2)]


def similarity(x, y, temperature, normalize):
    scale = (x.norm() * y.norm()).item() if normalize else 1.0
    return math.exp((x @ y).item() / scale / temperature)


@pytest.mark.parametrize("normalize", [False, True])
def test_across_sequences_is_nt_xent_written_out(normalize):
    p, e = two_views(3, 4, 5)
    total = 0.0
    for t in range(3):
        views = [*p[t], *e[t]]
        for i in range(8):
            others = [similarity(views[i], views[j], 0.7, normalize) for j in range(8) if j != i]
            total -= math.log(similarity(views[i], views[(i + 4) % 8], 0.7, normalize) / sum(others))
    assert across_sequences(p, e, 0.7, normalize).item() == pytest.approx(total / 24, rel=1e-12)


@pytest.mark.parametrize("normalize", [False, True])
def test_within_trajectory_is_written_out(normalize):
    p, e = two_views(2, 4, 5)
    total = 0.0
    for b in range(2):
        for i in range(4):
            right = similarity(p[b, i], e[b, i], 0.7, normalize)
            total -= math.log(right / sum(similarity(p[b, i], e[b, j], 0.7, normalize) for j in range(4)))
            total -= math.log(right / sum(similarity(p[b, j], e[b, i], 0.7, normalize) for j in range(4)))
    assert within_trajectory(p, e, 0.7, normalize).item() == pytest.approx(total / 16, rel=1e-12)


def test_what_is_constant_over_a_sequence_solves_only_the_contrast_across():
    background = 10 * torch.eye(4)[:, None].expand(4, 6, 4).contiguous()
    assert across_sequences(background.transpose(0, 1), background.transpose(0, 1)) < 1e-6
    assert within_trajectory(background, background).item() == pytest.approx(math.log(6))
