"""DCGAN: published sizes, and shapes."""

import pytest
import torch

from dynarium.nn.dcgan import DCGANDecoder, DCGANEncoder


@pytest.mark.parametrize(
    ("side", "channels", "encoder", "decoder"),
    [
        (56, 4, 3_808_448, 6_564_676),
        (64, 1, 3_805_376, 6_558_529),
        (64, 3, 3_807_424, 6_562_627),
        (64, 4, 3_808_448, 6_564_676),
        (128, 1, 8_001_216, 14_948_673),
        (128, 3, 8_003_264, 14_952_771),
        (128, 4, 8_004_288, 14_954_820),
    ],
)
def test_sizes_are_the_published_ones(side, channels, encoder, decoder):
    with torch.device("meta"):
        networks = [net((channels, side, side), 128) for net in (DCGANEncoder, DCGANDecoder)]
    assert [sum(p.numel() for p in net.parameters()) for net in networks] == [encoder, decoder]


@pytest.mark.parametrize(
    ("side", "skips"), [(32, [16, 8, 4]), (56, [29, 15, 8, 4]), (64, [32, 16, 8, 4]), (128, [64, 32, 16, 8, 4])]
)
def test_shapes(side, skips):
    encoder, decoder = (net((3, side, side), 6, 2) for net in (DCGANEncoder, DCGANDecoder))
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
