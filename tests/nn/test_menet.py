import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynarium.errors import UserError
from dynarium.nn.menet import MeNet5, MeNet5Decoder, SquareMeans, doubled_conv


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_parameter_counts_are_the_published_ones():
    assert count(MeNet5((1, 28, 28), 512, width=2)) == 384_768
    assert count(MeNet5((1, 28, 28), 64, width=1)) == 41_152
    assert count(MeNet5Decoder((1, 28, 28), 1024, width=2)) == 679_456


def test_it_is_convolution_relu_and_then_batch_normalisation():
    torch.manual_seed(0)
    model = MeNet5((2, 28, 28), 16, width=1).double()
    x = torch.randn(5, 2, 28, 28, dtype=torch.float64)
    first, second, third = (layer for layer in model.layers if isinstance(layer, nn.Conv2d))

    def normed(y):
        return (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()

    h = normed(F.conv2d(x, first.weight, first.bias, 2, 2).relu())
    h = normed(F.conv2d(h, second.weight, second.bias, 2, 2).relu())
    h = normed(F.conv2d(h, third.weight, third.bias, 1, 1).relu())
    h = h[:, :, :6, :6].reshape(5, 32, 3, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(model(x), F.linear(h.flatten(1), model.layers[-1].weight, model.layers[-1].bias))


@pytest.mark.parametrize("size", [(7, 7), (6, 9), (2, 2)])
def test_means_of_squares_are_average_pooling_forwards_and_backwards(size):
    x = torch.randn(3, 4, *size, dtype=torch.float64).contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(3, 4 * (size[0] // 2) * (size[1] // 2), dtype=torch.float64)
    found, wanted = SquareMeans()(x), F.avg_pool2d(x, 2).flatten(1)
    assert torch.equal(found, wanted)
    gradients = [torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, wanted)]
    assert torch.equal(*gradients)


def test_other_frames():
    for frame in [(2, 65, 65), (3, 33, 20)]:
        encoder, decoder = MeNet5(frame, 8), MeNet5Decoder(frame, 8, width=1)
        assert decoder(encoder(torch.randn(2, *frame))).shape == (2, *frame)
    with pytest.raises(UserError, match="at least 5x5"):
        MeNet5((1, 4, 28))


@pytest.mark.parametrize("kernel", [3, 5])
def test_doubled_convolution_is_a_convolution_of_the_doubled_frame(kernel):
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 3, kernel, kernel, dtype=torch.float64, requires_grad=True)
    ours = doubled_conv(x, weight)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), weight, padding=kernel // 2)
    torch.testing.assert_close(ours, plain)
    cotangent = torch.randn_like(plain)
    for a, b in zip(*(torch.autograd.grad(y, (x, weight), cotangent) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(a, b)
