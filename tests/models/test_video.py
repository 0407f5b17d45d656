"""What the video models share: hidden frames, draws, checks."""

import pytest
import torch
from torch import nn

from dynarium.errors import UserError
from dynarium.models.video import check_batch, coders, compares, draw_weights, drawn, held, leading_into


def test_a_hidden_frame_is_as_the_last_seen_before_it():
    video = torch.arange(10).view(2, 5, 1, 1, 1)
    mask = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]], dtype=torch.bool)
    assert held(video, mask).flatten(1).tolist() == [[0, 0, 0, 3, 3], [5, 5, 7, 8, 8]]
    assert held(video, None) is video


def test_draws_have_the_moments_asked_for():
    mean, log_variance = torch.full((100_000,), 2.0), torch.full((100_000,), 0.5).log()
    found = drawn(mean, log_variance, torch.Generator().manual_seed(0))
    assert found.mean().item() == pytest.approx(2.0, abs=0.01) and found.var().item() == pytest.approx(0.5, abs=0.01)


def test_weights_begin_as_published():
    torch.manual_seed(0)
    encoder, _ = coders("dcgan", (1, 32, 32), 8, 8, 16, "running")
    encoder.apply(draw_weights)
    conv, norm = encoder.stages[2].conv, encoder.stages[2].norm
    assert conv.weight.std().item() == pytest.approx(0.02, rel=0.05) and not conv.bias.any()
    assert norm.weight.mean().item() == pytest.approx(1.0, abs=0.02) and norm.weight.std().item() < 0.04
    before = nn.LSTM(3, 3)
    weights = before.weight_hh_l0.clone()
    assert torch.equal(before.apply(draw_weights).weight_hh_l0, weights)


def test_who_compares_sequences():
    assert compares("batch") and compares("running", training=True) and compares("batch", training=True)
    assert not (compares("running") or compares("frame") or compares("frame", training=True))


def test_what_is_missing_is_said():
    with pytest.raises(UserError, match="at least 2 frames wanted, got 1"):
        check_batch(torch.zeros(3, 1, 1, 2, 2), compared=False)
    with pytest.raises(UserError, match="at least 2 sequences wanted"):
        check_batch(torch.zeros(1, 3, 1, 2, 2), compared=True)
    check_batch(torch.zeros(1, 3, 1, 2, 2), compared=False)
    for action in (None, torch.zeros(2, 3, 4), torch.zeros(2, 1, 2)):
        with pytest.raises(UserError, match="2 steps of 2 values wanted for 3 frames"):
            leading_into(action, 2, 2, torch.float32)
