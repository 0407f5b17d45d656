"""VGG: published sizes, and shapes."""

import pytest
import torch

from dynarium.nn.vgg import VGGDecoder, VGGEncoder


@pytest.mark.parametrize(
    ("side", "channels", "encoder", "decoder"),
    [
        (64, 1, 8_688_448, 11_821_505),
        (64, 3, 8_689_600, 11_822_659),
        (64, 4, 8_690_176, 11_823_236),
        (128, 1, 15_770_944, 21_263_297),
        (128, 3, 15_772_096, 21_264_451),
        (128, 4, 15_772_672, 21_265_028),
    ],
)
def test_sizes_are_the_published_ones(side, channels, encoder, decoder):
    with torch.device("meta"):
        networks = [net((channels, side, side), 128) for net in (VGGEncoder, VGGDecoder)]
    assert [sum(p.numel() for p in net.parameters()) for net in networks] == [encoder, decoder]


@pytest.mark.parametrize(("side", "skips"), [(64, [64, 32, 16, 8]), (128, [128, 64, 32, 16, 8])])
def test_shapes(side, skips):
    encoder, decoder = (net((3, side, side), 6, 2) for net in (VGGEncoder, VGGDecoder))
    h, found = encoder(torch.rand(6, 3, side, side), 3, 3)
    assert h.shape == (6, 6) and h.abs().max() <= 1
    assert [s.shape[-1] for s in found] == skips
    # Five steps from three: the later ones read the skips of the third.
    frames = decoder(torch.randn(10, 6), found, [0, 1, 2, 2, 2])
    assert frames.shape == (10, 3, side, side)
    (frames.sum() + h.sum()).backward()
    assert all(p.grad is not None for net in (encoder, decoder) for p in net.parameters())
    # What is kept is the first steps' share of the same.
    few = encoder(torch.rand(6, 3, side, side), 3, 1)[1]
    assert [len(s) for s in few] == [2] * len(skips)
