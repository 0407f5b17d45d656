"""DCGAN, VGG and the LSTMs: published sizes, shapes, and calls that may be cut anywhere."""

import pytest
import torch

from dynarium.nn.dcgan import DCGANDecoder, DCGANEncoder
from dynarium.nn.lstm import GaussianLSTM, PredictorLSTM, expanded
from dynarium.nn.vgg import VGGDecoder, VGGEncoder

DCGAN, VGG = (DCGANEncoder, DCGANDecoder), (VGGEncoder, VGGDecoder)


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("networks", "side", "channels", "encoder", "decoder"),
    [
        (DCGAN, 56, 4, 3_808_448, 6_564_676),
        (DCGAN, 64, 1, 3_805_376, 6_558_529),
        (DCGAN, 64, 3, 3_807_424, 6_562_627),
        (DCGAN, 64, 4, 3_808_448, 6_564_676),
        (DCGAN, 128, 1, 8_001_216, 14_948_673),
        (DCGAN, 128, 3, 8_003_264, 14_952_771),
        (DCGAN, 128, 4, 8_004_288, 14_954_820),
        (VGG, 64, 1, 8_688_448, 11_821_505),
        (VGG, 64, 3, 8_689_600, 11_822_659),
        (VGG, 64, 4, 8_690_176, 11_823_236),
        (VGG, 128, 1, 15_770_944, 21_263_297),
        (VGG, 128, 3, 15_772_096, 21_264_451),
        (VGG, 128, 4, 15_772_672, 21_265_028),
    ],
)
def test_sizes_are_the_published_ones(networks, side, channels, encoder, decoder):
    with torch.device("meta"):
        found = [count(net((channels, side, side), 128)) for net in networks]
    assert found == [encoder, decoder]


@pytest.mark.parametrize(
    ("network", "arguments", "size"),
    [
        (PredictorLSTM, (138, 128, 256, 2), 1_121_152),
        (PredictorLSTM, (142, 128, 256, 2), 1_122_176),
        (PredictorLSTM, (170, 128, 256, 2), 1_129_344),
        (PredictorLSTM, (192, 128, 256, 2), 1_134_976),
        (PredictorLSTM, (152, 128, 256, 2), 1_124_736),
        (GaussianLSTM, (128, 10, 256, 1), 564_500),
        (GaussianLSTM, (132, 10, 256, 1), 565_524),
        (GaussianLSTM, (160, 10, 256, 1), 572_692),
        (GaussianLSTM, (128, 64, 256, 1), 592_256),
        (GaussianLSTM, (128, 24, 256, 1), 571_696),
    ],
)
def test_sizes_of_the_recurrent_parts(network, arguments, size):
    with torch.device("meta"):
        assert count(network(*arguments)) == size


@pytest.mark.parametrize(
    ("networks", "side", "skips"),
    [
        (DCGAN, 32, [16, 8, 4]),
        (DCGAN, 56, [29, 15, 8, 4]),
        (DCGAN, 64, [32, 16, 8, 4]),
        (DCGAN, 128, [64, 32, 16, 8, 4]),
        (VGG, 64, [64, 32, 16, 8]),
        (VGG, 128, [128, 64, 32, 16, 8]),
    ],
)
def test_shapes(networks, side, skips):
    encoder, decoder = (net((3, side, side), 6, 2) for net in networks)
    h, found = encoder(torch.rand(6, 3, side, side), 3, 3)
    assert h.shape == (6, 6) and h.abs().max() <= 1
    assert [s.shape[-1] for s in found] == skips
    # Five steps from three: the later ones read the skips of the third.
    frames = decoder(torch.randn(10, 6), found, [0, 1, 2, 2, 2])
    assert frames.shape == (10, 3, side, side)
    frames.sum().backward()
    assert all(p.grad is not None for net in (encoder, decoder) for p in net.parameters())


def test_a_sequence_may_be_cut_anywhere():
    torch.manual_seed(0)
    for network in (PredictorLSTM(4, 3, 5, 2), GaussianLSTM(4, 3, 5, 2)):
        x = torch.randn(2, 6, 4)
        *whole, _ = network(x)
        *first, state = network(x[:, :4])
        *rest, _ = network(x[:, 4:], state)
        for y, a, b in zip(whole, first, rest, strict=True):
            torch.testing.assert_close(y, torch.cat([a, b], 1))
        # Two samples go on beside each other.
        *both, _ = network(x[:, 4:].repeat(2, 1, 1), expanded(state, 2))
        torch.testing.assert_close(both[0], rest[0].repeat(2, 1, 1))
