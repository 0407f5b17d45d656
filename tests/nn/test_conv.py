"""Encoder and decoder for frames of any size."""

import pytest
import torch
import torch.nn.functional as F

from dynarium.nn.conv import ConvEncoder, SubpixelDecoder
from dynarium.nn.frames import as_float

FRAMES = [(1, 32, 32), (3, 17, 30), (1, 9, 8), (2, 1, 5)]


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("channels", [(4,), (4, 6), (4, 6, 8)])
def test_shapes_and_gradients(frame, channels):
    torch.manual_seed(0)
    encoder, decoder = ConvEncoder(frame, channels), SubpixelDecoder(5, frame, channels)
    x = torch.rand(2, *frame)
    features = encoder(x)
    assert features.shape == (2, encoder.width)
    y = decoder(torch.randn(2, 5))
    assert y.shape == x.shape
    (features.sum() + y.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [*encoder.parameters(), *decoder.parameters()])


def test_memory_order_changes_no_number():
    torch.manual_seed(0)
    encoder = ConvEncoder((3, 16, 16), (4, 8))
    x = torch.rand(2, 3, 16, 16)
    expected = x
    for layer in encoder.layers:
        expected = F.relu(F.conv2d(expected, layer.weight.contiguous(), layer.bias, stride=2, padding=1))
    torch.testing.assert_close(encoder(x), expected.flatten(1))


def test_every_frame_is_encoded_and_decoded_on_its_own():
    torch.manual_seed(0)
    encoder, decoder = ConvEncoder((1, 11, 11), (4, 4)), SubpixelDecoder(3, (1, 11, 11), (4, 4))
    x, a = torch.rand(3, 1, 11, 11), torch.randn(3, 3)
    torch.testing.assert_close(encoder(x)[1:2], encoder(x[1:2]))
    torch.testing.assert_close(decoder(a)[1:2], decoder(a[1:2]))


def test_as_float():
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 3)
    torch.testing.assert_close(as_float(pixels), torch.tensor([[[0.0, 0.2, 1.0]]]))
    assert pixels.dtype == torch.uint8 and pixels.flatten().tolist() == [0, 51, 255]
    floating = torch.rand(1, 2, 2, dtype=torch.float64)
    assert as_float(floating) is floating
