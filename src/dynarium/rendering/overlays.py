"""Overlays for frames, each a pure function of a key: uniform noise and crops of pictures.

A key is a 32-bit number. What belongs to it is found by hashing and not by drawing, so that frames can be drawn again, in
part or one by one, on any device, and look the same.
"""

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

_GOLDEN = -1_640_531_527  # 2^32 divided by the golden ratio, as a signed number
_AT_ONCE = 2**16  # numbers that stay in the cache


def hashed(*parts: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Return 32-bit keys of the parts, which are broadcast against each other."""
    key = torch.zeros((), dtype=torch.int32, device=parts[0].device)
    for part in parts:
        key = _scrambled((key ^ part.int()) + _GOLDEN)
    return key


def uniform_overlay(key: Int[Tensor, "*b"], height: int, width: int) -> Float[Tensor, "*b h w"]:
    """Return noise from U[0, 1), independent for each pixel and each key."""
    keys = key.int().reshape(-1, 1)
    counter = (torch.arange(height * width, device=key.device) * _GOLDEN).int()
    out = torch.empty(len(keys), height * width, device=key.device)
    step = max(1, _AT_ONCE // (height * width)) if key.device.type == "cpu" else max(1, len(keys))
    for start in range(0, len(keys), step):
        bits = _scrambled(keys[start : start + step] + counter)
        torch.mul(bits.bitwise_right_shift_(8), 2.0**-24, out=out[start : start + step])
    return out.add_(0.5).reshape(*key.shape, height, width)


def picture_overlay(
    key: Int[Tensor, "*b"], pictures: UInt8[Tensor, "m s s"], height: int, width: int
) -> Float[Tensor, "*b h w"]:
    """Return one of the pictures in [0, 1] for each key, cropped at a random place and mirrored half of the time."""
    keys, side = key.int().flatten(), pictures.shape[-1]
    which = [_below(keys, i, size) for i, size in enumerate((len(pictures), side - height + 1, side - width + 1, 2))]
    crops = pictures.unfold(1, height, 1).unfold(2, width, 1)[which[0], which[1], which[2]]
    crops = torch.where(which[3].bool()[:, None, None], crops.flip(-1), crops)
    return crops.float().mul_(1 / 255).reshape(*key.shape, height, width)


def rolled(overlay: Float[Tensor, "b k h w"], shifts: Int[Tensor, " t"]) -> Float[Tensor, "b t k h w"]:
    """Return the overlay at every step, moved to the right by so many pixels and entering again at the left."""
    width = overlay.shape[-1]
    column = (torch.arange(width, device=overlay.device) - shifts[:, None]) % width
    return overlay[..., column].movedim(-2, 1)


def _below(key: Int[Tensor, " n"], salt: int, size: int) -> Int[Tensor, " n"]:
    """Return one of ``0 .. size - 1`` for each key."""
    bits = hashed(key, torch.full((), salt, dtype=torch.int32, device=key.device))
    return (bits.long() & 0x7FFFFFFF) % size


def _scrambled(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """Scramble 32 bits in place so that every bit of the result depends on all (a xorshift-multiply hash by Wellons)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, None)):
        # An arithmetic shift copies the sign into the upper bits; the mask takes it away.
        x.bitwise_xor_((x >> shift).bitwise_and_((1 << (32 - shift)) - 1))
        if factor is not None:
            x.mul_(factor)
    return x
