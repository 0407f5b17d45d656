from dataclasses import replace

import pytest
import torch

from dynarium.data.generate import draw, seeded
from dynarium.errors import UserError
from dynarium.rendering.gaussians import peak
from dynarium.systems.dots import MovingDots, moving_dots
from dynarium.systems.noise import Noise
from dynarium.types import Trajectory


def overlays(noise, n=32, world=None):
    """Return what the noise adds to the frames, in units of the middle of a dot, and the clean frames."""
    world = world or MovingDots()
    noisy = replace(world, noise=noise)
    generator = seeded(0)
    drawn = noisy.simulate(noisy.sample_parameters(n, generator), 17, generator)
    clean = world.render(drawn)
    return (noisy.render(drawn) - clean) / peak(1.3), clean


@pytest.mark.parametrize("source", ["uniform", "structured"])
def test_fixed_noise_stays_and_changing_noise_changes(source):
    fixed, _ = overlays(Noise(fixed=1.0, source=source))
    torch.testing.assert_close(fixed, fixed[:, :1].expand_as(fixed), rtol=0, atol=1e-5)
    assert len(fixed[:, 0].flatten(1).unique(dim=0)) == 32
    changing, _ = overlays(Noise(changing=1.0, source=source))
    assert len(changing.flatten(0, 1).flatten(1).unique(dim=0)) == 32 * 17
    assert changing.min() >= -1e-6 and changing.max() <= 1 + 1e-6


def test_levels_multiply_and_both_kinds_add_up():
    once, _ = overlays(Noise(fixed=1.0))
    thrice, _ = overlays(Noise(fixed=3.0))
    changing, _ = overlays(Noise(changing=2.0))
    both, _ = overlays(Noise(fixed=3.0, changing=2.0))
    torch.testing.assert_close(thrice, 3 * once, rtol=0, atol=1e-5)
    torch.testing.assert_close(both, thrice + changing, rtol=0, atol=1e-5)
    assert float(once.mean()) == pytest.approx(0.5, abs=0.01) and float(once.std()) == pytest.approx(12**-0.5, abs=0.01)


def test_a_rolling_overlay_moves_by_whole_pixels_to_the_right():
    still, _ = overlays(Noise(fixed=1.0))
    rolling, _ = overlays(Noise(fixed=1.0, speed=1.5))
    for t in range(17):
        torch.testing.assert_close(rolling[:, t], still[:, 0].roll(int(1.5 * t), -1), rtol=0, atol=1e-5)


def test_every_channel_has_noise_of_its_own_and_a_sum_has_the_sum():
    world = moving_dots()
    each, _ = overlays(Noise(fixed=1.0), world=world)
    assert (each[:, :, 0] - each[:, :, 1]).abs().mean() > 0.2
    summed, _ = overlays(Noise(fixed=1.0), world=replace(world, channels="sum"))
    torch.testing.assert_close(summed, each.sum(2, keepdim=True), rtol=0, atol=1e-5)


def test_the_amplitude_is_a_constant_but_for_legacy():
    """The brightest pixel of a batch depends on how near the middle of a pixel a dot comes in it."""
    few, clean = overlays(Noise(fixed=1.0, legacy=True), n=2)
    constant, _ = overlays(Noise(fixed=1.0), n=2)
    share = float(clean.max()) / peak(1.3)
    assert share < 1 - 1e-4
    torch.testing.assert_close(few, constant * share, rtol=0, atol=1e-5)


def test_frames_can_be_drawn_again_from_what_is_stored_in_part_and_one_by_one():
    world = MovingDots(noise=Noise(fixed=0.5, changing=1.0, source="structured"))
    made = draw(world, 6, 17, seeded(0))
    stored = {name: made[name].double() for name in ("state", "parameter")}
    again = world.render(Trajectory(state=stored["state"][3:5], parameter=stored["parameter"][3:5]))
    assert torch.equal(again, made["video"][3:5])
    first, second = (
        world.render(Trajectory(state=stored["state"][:, t : t + 1], parameter=stored["parameter"])) for t in (0, 5)
    )
    assert torch.equal(first, made["video"][:, :1])  # frame 5 alone is the first of its kind, but its noise is new
    assert (first - second).abs().mean() > 0.01


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="noise.changing: expected a number of at least 0, got -1"):
        Noise(changing=-1.0)
    with pytest.raises(UserError, match=r"noise.source: expected 'uniform', 'structured', a folder"):
        draw(MovingDots(noise=Noise(fixed=1.0, source="nowhere")), 1, 1, seeded(0))
