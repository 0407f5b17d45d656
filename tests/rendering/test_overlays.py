import numpy as np
import torch

from dynarium.rendering.overlays import hashed, picture_overlay, rolled, uniform_overlay


def test_keys_are_those_of_the_hash_in_unsigned_arithmetic():
    def scrambled(x):
        for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
            x = (x ^ (x >> shift)) * factor & 0xFFFFFFFF
        return x

    def expected(*parts):
        key = 0
        for part in parts:
            key = scrambled(((key ^ part) + 0x9E3779B9) & 0xFFFFFFFF)
        return key

    first, second = torch.tensor([0, 1, 2**24 - 1, 12345]), torch.tensor(7)
    keys = hashed(first, second).long() & 0xFFFFFFFF
    assert keys.tolist() == [expected(int(x), 7) for x in first]


def test_uniform_noise_is_uniform_white_and_a_function_of_its_key():
    keys = hashed(torch.arange(500))
    noise = uniform_overlay(keys, 28, 28)
    assert noise.min() >= 0 and noise.max() < 1
    share = torch.histc(noise, 20, 0, 1) / noise.numel()
    assert (share - 0.05).abs().max() < 5 * (0.05 * 0.95 / noise.numel()) ** 0.5
    flat = noise.flatten(1).double() - 0.5
    spread = (12 * 12 / flat.numel()) ** 0.5  # of a mean product of neighbours, in units of the variance
    neighbours = [
        (flat[:, 1:] * flat[:, :-1]).mean(),
        (flat[1:] * flat[:-1]).mean(),
        (flat[:, 28:] * flat[:, :-28]).mean(),
    ]
    assert all(abs(12 * float(value)) < 5 * spread / 12**0.5 for value in neighbours)
    torch.testing.assert_close(uniform_overlay(keys[[7, 3]].reshape(2, 1), 28, 28)[:, 0], noise[[7, 3]], rtol=0, atol=0)


def test_a_picture_overlay_is_a_crop_of_a_picture_mirrored_or_not():
    pictures = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 12, 12), dtype=np.uint8))
    drawn = picture_overlay(hashed(torch.arange(400)), pictures, 9, 9)
    crops = pictures.unfold(1, 9, 1).unfold(2, 9, 1).reshape(-1, 81)
    crops = torch.cat([crops, crops.unflatten(-1, (9, 9)).flip(-1).flatten(1)])
    known = {bytes(crop.tolist()) for crop in crops}
    seen = [bytes((255 * frame).round().int().flatten().tolist()) for frame in drawn]
    assert len(known) == 5 * 16 * 2 and set(seen) <= known
    assert len(set(seen)) > 0.8 * len(known)  # 400 draws of 160 reach 92 %


def test_rolling_moves_to_the_right_and_around():
    overlay = torch.rand(2, 1, 3, 5, generator=torch.Generator().manual_seed(0))
    moved = rolled(overlay, torch.tensor([0, 1, 7]))
    for t, shift in enumerate((0, 1, 7)):
        torch.testing.assert_close(moved[:, t], overlay.roll(shift, -1), rtol=0, atol=0)
