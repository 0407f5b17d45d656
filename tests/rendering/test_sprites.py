import pytest
import torch

from dynarium.rendering.sprites import _scattered, stamp_sprites


def drawn_by_hand(sprites, which, corners, side):
    b, t, k = corners.shape[:3]
    frames = torch.zeros(b, t, side, side)
    size = sprites.shape[-1]
    for i in range(b):
        for j in range(t):
            for n in range(k):
                x, y = corners[i, j, n].tolist()
                frames[i, j, y : y + size, x : x + size] += sprites[which[i, n]]
    return frames.clamp(max=255).to(torch.uint8)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_bytes_add_up_and_stop_at_white(k):
    generator = torch.Generator().manual_seed(k)
    sprites = torch.randint(0, 256, (5, 7, 7), dtype=torch.uint8, generator=generator)
    which = torch.randint(0, 5, (4, k), generator=generator)
    corners = torch.randint(0, 14, (4, 6, k, 2), generator=generator)
    corners[:2] = 0  # all over each other
    expected = drawn_by_hand(sprites, which, corners, 20)
    assert torch.equal(stamp_sprites(sprites, which, corners, 20, 1)[:, :, 0], expected)
    assert torch.equal(_scattered(sprites, which, corners, 20), expected)
    assert torch.equal(stamp_sprites(sprites, which, corners, 20, 3), expected[:, :, None].expand(-1, -1, 3, -1, -1))


def test_nothing_is_written_beyond_the_frame():
    sprites, which = torch.ones(2, 4, 4, dtype=torch.uint8), torch.zeros(1, 1, dtype=torch.int64)
    with pytest.raises(IndexError, match="corners: expected 0 .. 6 px, got 7 .. 7"):
        stamp_sprites(sprites, which, torch.full((1, 1, 1, 2), 7), 10, 1)
    with pytest.raises(IndexError, match="which: expected 0 .. 1, got 2 .. 2"):
        stamp_sprites(sprites, which + 2, torch.zeros(1, 1, 1, 2, dtype=torch.int64), 10, 1)
