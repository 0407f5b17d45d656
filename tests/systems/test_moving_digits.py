from dataclasses import replace

import pytest
import torch

from dynarium.data import make_dataset
from dynarium.data.generate import draw, make_block, seeded
from dynarium.errors import UserError
from dynarium.systems.glyphs import glyphs
from dynarium.systems.moving_digits import MovingDigits, moving_digits, moving_digits_deterministic, moving_digits_srvp
from dynarium.types import Trajectory


@pytest.mark.parametrize("make", [moving_digits, moving_digits_deterministic, moving_digits_srvp])
def test_frames_are_the_clipped_sum_of_the_glyphs(make):
    world = make()
    made = draw(world, 6, 12, seeded(0))
    bank = glyphs("strokes", "train", world.glyph_size, "cpu")
    size = world.glyph_size
    for i in range(6):
        for t in range(12):
            frame = torch.zeros(64, 64)
            for k, (x, y, _, _) in enumerate(made["state"][i, t].unflatten(0, (2, 4)).tolist()):
                glyph = bank.images[int(made["parameter"][i, k])]
                frame[round(y) : round(y) + size, round(x) : round(x) + size] += glyph
            assert torch.equal(made["video"][i, t, 0].float(), frame.clamp(max=255))
    assert torch.equal(made["digit"], bank.labels[made["parameter"].long()])
    assert made["video"].dtype == torch.uint8 and made["bounce"].dtype == torch.uint8


def test_a_bounce_is_where_the_state_did_not_go_straight_on():
    made = draw(moving_digits(), 200, 30, seeded(1))
    state = made["state"].unflatten(-1, (2, 4))
    bent = (state[:, 1:, :, :2] != state[:, :-1, :, :2] + state[:, :-1, :, 2:]).any(-1).any(-1)
    assert torch.equal(made["bounce"][:, 1:].bool(), bent) and not made["bounce"][:, 0].any()
    assert 0.2 < bent.double().mean() < 0.3


def test_statistics_near_those_of_the_original_data():
    """With MNIST itself the mean pixel is .0632 and the mean square .0491; what is drawn here must not be far away."""
    video = draw(moving_digits(), 200, 30, seeded(0))["video"].float() / 255
    assert float(video.mean()) == pytest.approx(0.0632, rel=0.15)
    assert float(video.square().mean()) == pytest.approx(0.0491, rel=0.15)
    assert float((video[:, 5:15] - video[:, 4:5]).square().mean()) == pytest.approx(0.0686, rel=0.2)


@pytest.mark.parametrize(("size", "channels", "digits"), [(56, 3, 1), (64, 2, 3), (128, 4, 2)])
def test_sizes_channels_and_digits(size, channels, digits):
    world = MovingDigits(size=size, channels=channels, digits=digits)
    made = draw(world, 4, 40, seeded(0))
    assert made["video"].shape == (4, 40, channels, size, size) and made["state"].shape == (4, 40, 4 * digits)
    assert (made["video"] == made["video"][:, :, :1]).all()
    assert len(world.state_names) == 4 * digits and world.state_names[0] == "x0 [px]"


def test_test_sets_are_fixed_and_have_digits_of_their_own(tmp_path):
    world = moving_digits()
    sizes = {"train": 4, "val": 3, "test": 300}
    made = make_dataset(world, tmp_path / "a", sizes=sizes, steps=8, seed=7)
    again = make_dataset(world, tmp_path / "b", sizes=sizes | {"test": 270}, steps=8, seed=7, shard_size=256)
    one, two = (dataset.read("test", [0, 255, 256, 269]) for dataset in (made, again))
    assert all((one[name] == two[name]).all() for name in one)
    assert made.schema.seed == 7 and made.schema.generator["glyphs"] == "strokes"
    assert made.read("test", [0], 2, 3)["bounce"].shape == (1, 3)
    banks = [glyphs("strokes", part, 32, "cpu").images for part in ("train", "test")]
    assert [len(bank) for bank in banks] == [6000, 1000]
    assert world.of_split("val").part == "train" and world.of_split("test").part == "test"
    shown = make_block(world, 7, "test", 0, 8)
    assert (shown["video"][0] == one["video"][0]).all() and shown["parameter"].max() < 1000
    lit = one["video"][0, 0, 0].sum(dtype=int)
    wanted = sum(int(banks[1][int(g)].sum(dtype=torch.int64)) for g in one["parameter"][0])
    assert 0.8 * wanted < lit <= wanted  # the two may overlap


def test_wrong_options_are_named():
    with pytest.raises(UserError, match="size: expected more than the 36 px of a digit and a step, got 36"):
        MovingDigits(size=36)
    with pytest.raises(UserError, match="channels: expected 1 to 4, got 5"):
        MovingDigits(channels=5)
    with pytest.raises(UserError, match="trajectory.parameter: expected what sample_parameters drew"):
        moving_digits().render(Trajectory(state=torch.zeros(1, 1, 8).double()))
    with pytest.raises(UserError, match="glyphs: expected 'strokes', .*, got 'nowhere'"):
        draw(replace(moving_digits(), glyphs="nowhere"), 1, 2, seeded(0))
