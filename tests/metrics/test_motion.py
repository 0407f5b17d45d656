"""Metrics of motion: against literal transcriptions in plain loops, and on cases whose answer is known by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynarium.metrics.motion import (
    centroid_distance,
    normalised_mse,
    otsu,
    share_before,
    valid_prediction_distance,
    valid_prediction_time,
    valid_prediction_time_last,
)

SIDE = 32


def disc(row, column, radius=3.0, value=1.0):
    r, c = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    return (((r - row) ** 2 + (c - column) ** 2) <= radius**2).float() * value


def film(centres, **options):
    """Return [1, t, 1, h, w]."""
    return torch.stack([disc(*centre, **options) for centre in centres])[None, :, None]


def plain_otsu(image):
    """Otsu's threshold as in the textbook: try every bin of a 256-bin histogram."""
    pixels = image.astype(np.float64).ravel()
    if pixels.min() == pixels.max():
        return pixels[0]
    counts, edges = np.histogram(pixels, bins=256)
    centres = (edges[1:] + edges[:-1]) / 2
    best, threshold = -1.0, math.nan
    for k in range(255):
        low, high = counts[: k + 1], counts[k + 1 :]
        if low.sum() == 0 or high.sum() == 0:
            continue
        means = (low * centres[: k + 1]).sum() / low.sum(), (high * centres[k + 1 :]).sum() / high.sum()
        between = low.sum() * high.sum() * (means[0] - means[1]) ** 2
        if between > best * (1 + 1e-12):
            best, threshold = between, centres[k]
    return threshold


def plain_distances(prediction, truth, legacy):
    """The distance as the literature's code computes it, one frame after the other; NaN where it is not defined."""
    b, t, _, h, w = truth.shape
    out = np.zeros((b, t))
    for i in range(b):
        for k in range(t):
            frame, true = prediction[i, k].max(0), truth[i, k].max(0)
            seen = np.argwhere(true > 0.55)
            found = np.argwhere(frame > max(0.32, plain_otsu(frame)))
            if len(seen) == 0:
                out[i, k] = 0.0 if legacy else math.nan
            elif len(found) == 0:
                out[i, k] = np.linalg.norm(seen.mean(0)) if legacy else math.hypot(h, w)
            else:
                out[i, k] = np.linalg.norm(found.mean(0) - seen.mean(0))
    return out


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from([1, 3]), st.booleans())
def test_centroid_distance_equals_a_plain_loop(seed, channels, legacy):
    g = torch.Generator().manual_seed(seed)
    shape = (2, 4, channels, 9, 7)
    prediction, truth = torch.rand(shape, generator=g), torch.rand(shape, generator=g) ** 3
    prediction *= torch.rand(2, 4, 1, 1, 1, generator=g)  # some are too dark to be seen
    truth[0, 1], prediction[1, 2], prediction[0, 3] = 0.0, 0.0, 0.7
    kept = prediction.clone(), truth.clone()
    found = centroid_distance(prediction, truth, legacy=legacy)
    wanted = plain_distances(prediction.numpy(), truth.numpy(), legacy)
    assert found.numpy() == pytest.approx(wanted, abs=1e-4, nan_ok=True)
    assert torch.equal(prediction, kept[0]) and torch.equal(truth, kept[1])


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from(["uniform", "two", "binary", "levels", "wide"]))
def test_otsu_equals_a_plain_loop(seed, kind):
    g = np.random.default_rng(seed)
    frames = {
        "uniform": lambda: g.random((5, 8, 9)),
        "two": lambda: np.where(
            g.random((5, 8, 9)) < 0.2, g.normal(0.8, 0.05, (5, 8, 9)), g.normal(0.1, 0.05, (5, 8, 9))
        ),
        "binary": lambda: (g.random((5, 8, 9)) < 0.3) * 1.0,
        "levels": lambda: g.integers(0, 4, (5, 8, 9)) / 3,
        "wide": lambda: g.normal(0, 100, (5, 8, 9)),
    }[kind]()
    frames[0] = 0.25
    found = otsu(torch.from_numpy(frames))
    assert found.numpy() == pytest.approx([plain_otsu(frame) for frame in frames], abs=1e-9)
    assert otsu(torch.from_numpy(frames)[None, :, None]).shape == (1, 5, 1)


def test_a_disc_shifted_by_d_pixels_is_at_distance_d():
    truth = film([(10, 10), (12, 14), (20, 9)])
    shifted = film([(10, 13), (16, 14), (23, 13)], value=0.6)
    assert centroid_distance(shifted, truth)[0].tolist() == pytest.approx([3.0, 4.0, 5.0], abs=1e-5)
    colours = torch.cat([shifted * 0.1, shifted, shifted * 0], 2)
    assert torch.equal(centroid_distance(colours, truth.expand(-1, -1, 3, -1, -1)), centroid_distance(shifted, truth))
    samples = torch.stack([truth, shifted])
    assert centroid_distance(samples, truth).shape == (2, 1, 3)
    assert centroid_distance(samples, truth)[0].eq(0).all()


def test_empty_frames():
    truth, nothing = film([(10, 10), (12, 14)]), torch.zeros(1, 2, 1, SIDE, SIDE)
    longest = math.hypot(SIDE, SIDE)
    for empty in (nothing, nothing + 0.3, nothing + 0.9, nothing / 0):  # dark, of one value, not a number
        assert centroid_distance(empty, truth)[0].tolist() == pytest.approx([longest] * 2)
    assert centroid_distance(nothing, truth, legacy=True)[0].tolist() == pytest.approx([200**0.5, 340**0.5])
    assert centroid_distance(truth, nothing).isnan().all()
    assert centroid_distance(truth, nothing, legacy=True).eq(0).all()
    assert valid_prediction_distance(centroid_distance(truth, nothing), SIDE).isnan().all()


def test_valid_prediction_time_is_the_first_crossing():
    truth = film([(10, 10)] * 10)
    for k in (0, 3, 9):
        wrong = truth.clone()
        wrong[:, k:] = 1 - truth[:, k:]
        assert valid_prediction_time(wrong, truth).item() == pytest.approx(k / 10)
        assert valid_prediction_time_last(wrong, truth).item() == pytest.approx(k / 10)
    assert valid_prediction_time(truth, truth).item() == valid_prediction_time_last(truth, truth).item() == 1
    recovers = truth.clone()
    recovers[:, 2:6] = 1 - truth[:, 2:6]
    assert valid_prediction_time(recovers, truth).item() == pytest.approx(0.2)
    assert valid_prediction_time_last(recovers, truth).item() == 1.0
    exactly = truth + 0.5  # mean squared error 0.25
    assert valid_prediction_time(exactly, truth, threshold=0.25).item() == 1.0
    assert valid_prediction_time(exactly, truth, threshold=0.249).item() == 0.0
    assert valid_prediction_time(truth * torch.nan, truth).item() == 0.0  # not a number is not valid
    assert valid_prediction_time_last(truth * torch.nan, truth).item() == 0.0


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.01, 0.3))
def test_valid_prediction_times_equal_a_plain_loop(seed, threshold):
    g = torch.Generator().manual_seed(seed)
    truth = torch.rand(3, 6, 1, 2, 2, generator=g)
    prediction = truth + torch.randn(2, 3, 6, 1, 2, 2, generator=g) * 0.3
    first = valid_prediction_time(prediction, truth, threshold)
    last = valid_prediction_time_last(prediction, truth, threshold)
    for s in range(2):
        for i in range(3):
            errors = [(prediction[s, i, t] - truth[i, t]).square().mean().item() for t in range(6)]
            above = [t for t, error in enumerate(errors) if error > threshold]
            below = [t for t, error in enumerate(errors) if error < threshold]
            assert first[s, i].item() == pytest.approx((above[0] if above else 6) / 6)
            assert last[s, i].item() == pytest.approx((below[-1] + 1 if below else 0) / 6)


def test_unknown_steps_neither_fail_nor_count():
    wrong = torch.tensor([[False, True, False, True, True]] * 4)
    known = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]]).bool()
    assert share_before(wrong, known).tolist() == pytest.approx([1 / 5, 3 / 5, 1.0, math.nan], nan_ok=True)
    # A sequence of three steps is judged over three steps.
    short = torch.tensor([[True, True, True, False, False]])
    truth = film([(10, 10)] * 5)
    prediction = truth.clone()
    prediction[:, 2:] = 1 - truth[:, 2:]
    assert valid_prediction_time(prediction, truth, known=short).item() == pytest.approx(2 / 3)
    assert valid_prediction_time_last(prediction, truth, known=short).item() == pytest.approx(2 / 3)
    assert normalised_mse(prediction, truth, short).item() == pytest.approx(
        ((prediction - truth)[:, :3] ** 2).sum().item() / (truth[:, :3] ** 2).sum().item()
    )


def test_valid_prediction_distance():
    truth = film([(16, 4)] * 6)
    drifting = film([(16, 4 + 4 * t) for t in range(6)])  # 0, 4, 8, 12, ... pixels away
    distance = centroid_distance(drifting, truth)
    assert valid_prediction_distance(distance, SIDE).item() == pytest.approx(3 / 6)
    assert valid_prediction_distance(distance, SIDE, limit=7.9).item() == pytest.approx(2 / 6)
    assert valid_prediction_distance(distance, 2 * SIDE).item() == pytest.approx(
        5 / 6
    )  # 20 px of 64 is as far as 10 of 32
    assert valid_prediction_distance(distance * 0, SIDE).item() == 1.0
    exact = torch.tensor([[0.0, 10.0, math.nan, 0.0]])
    assert valid_prediction_distance(exact, 32).item() == 1 / 4  # the limit itself is lost
    assert valid_prediction_distance(exact, 32, known=torch.tensor([[True, False, True, True]])).item() == 1.0


def test_normalised_mse():
    g = torch.Generator().manual_seed(0)
    truth, prediction = torch.rand(2, 3, 1, 4, 4, generator=g), torch.rand(5, 2, 3, 1, 4, 4, generator=g)
    wanted = ((prediction - truth) ** 2).mean((2, 3, 4, 5)) / (truth**2).mean((1, 2, 3, 4))
    torch.testing.assert_close(normalised_mse(prediction, truth), wanted)
    assert normalised_mse(truth * 0, truth).tolist() == pytest.approx([1.0, 1.0])
    assert normalised_mse(truth, truth * 0).isnan().all()
