"""Small pictures put onto black frames at whole pixels, where their bytes add up and stop at 255.

On the CPU Numba compiles the copying of rows, which is as fast as memory; elsewhere PyTorch scatters them. Both give the
same bytes.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor


def stamp_sprites(
    sprites: UInt8[Tensor, "m s s"],
    which: Int[Tensor, "b k"],
    corners: Int[Tensor, "b t k 2"],
    side: int,
    channels: int,
) -> UInt8[Tensor, "b t c h w"]:
    """Draw k sprites per frame.

    Args:
        sprites: The pictures.
        which: Which of them each of the k things of a sequence is.
        corners: Column and row of the first pixel of each; the sprite lies inside the frame.
        side: Height and width of the frames in pixels.
        channels: Number of equal channels.

    Raises:
        IndexError: A sprite that does not exist, or one that reaches over the edge.
    """
    if corners.numel():
        low, high = corners.aminmax()
        if low < 0 or high + sprites.shape[-1] > side:
            raise IndexError(f"corners: expected 0 .. {side - sprites.shape[-1]} px, got {int(low)} .. {int(high)}")
        if which.min() < 0 or which.max() >= len(sprites):
            raise IndexError(f"which: expected 0 .. {len(sprites) - 1}, got {int(which.min())} .. {int(which.max())}")
    b, t = corners.shape[:2]
    if corners.device.type != "cpu":
        return _scattered(sprites, which, corners, side)[:, :, None].expand(-1, -1, channels, -1, -1).contiguous()
    frames = np.empty((b, t, channels, side, side), np.uint8)  # NumPy asks for huge pages, whose first touch is cheap
    _compiled()(sprites.numpy(), which.numpy(), corners.numpy(), frames)
    return torch.from_numpy(frames)


@functools.cache
def _compiled() -> Callable[..., Any]:
    import numba  # half a second that only those pay who draw sprites

    return numba.njit(nogil=True, cache=True)(inspect.unwrap(_stamp))  # a type checker may have wrapped it


def _stamp(sprites, which, corners, frames):
    size = sprites.shape[1]
    for i in range(frames.shape[0]):
        for t in range(frames.shape[1]):
            frame = frames[i, t, 0]
            frame[:] = 0
            for k in range(which.shape[1]):
                sprite = sprites[which[i, k]]
                column, row = corners[i, t, k, 0], corners[i, t, k, 1]
                for y in range(size):
                    # Slices and 16 bits: what LLVM needs to see to add many pixels at once.
                    target, source = frame[row + y, column : column + size], sprite[y]
                    for x in range(size):
                        added = np.uint16(target[x]) + np.uint16(source[x])
                        target[x] = added if added < np.uint16(255) else np.uint16(255)
            for c in range(1, frames.shape[2]):
                frames[i, t, c] = frame


def _scattered(
    sprites: UInt8[Tensor, "m s s"], which: Int[Tensor, "b k"], corners: Int[Tensor, "b t k 2"], side: int
) -> UInt8[Tensor, "b t h w"]:
    b, t, size = *corners.shape[:2], sprites.shape[-1]
    frames = torch.zeros(b, t, side * side, dtype=torch.uint8, device=corners.device)
    pixel = torch.arange(size, device=corners.device)
    within = (pixel[:, None] * side + pixel).flatten()
    for k in range(which.shape[1]):
        index = (corners[:, :, k, 1] * side + corners[:, :, k, 0])[..., None] + within
        sprite = sprites[which[:, k]].flatten(1)[:, None].expand(-1, t, -1)
        under = frames.gather(2, index)
        frames.scatter_(2, index, under + torch.minimum(sprite, 255 - under))
    return frames.unflatten(2, (side, side))
