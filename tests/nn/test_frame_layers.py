"""Layers that take many steps at once give what a call a step gives, gradients and running averages included."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dynarium.nn.frame_layers import FrameLayer, StepNorm, doubled_kernel
from dynarium.nn.group_norm import GroupNorm

B, SOURCES = 3, [0, 1, 1, 1]
"""Four steps of three frames; the last two share the skips of the second."""


def layer_of(kind, **options):
    torch.manual_seed(0)
    kernel, stride = (3, 1) if kind == "doubled" else (4, 2)
    layer = FrameLayer(4, 5, kernel, stride, 1, kind=kind, skips=2, **options).double()
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer


def inputs_of(kind):
    torch.manual_seed(1)
    x = torch.randn(len(SOURCES) * B, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    side = 12 if kind == "doubled" else 6
    skip = torch.randn(2 * B, 2, side, side, dtype=torch.float64, requires_grad=True)
    return x, skip


def convolved(layer, x, skip):
    """Return the convolution of frames beside their skips, as a plain network computes it."""
    conv, kind = layer.conv, layer.kind
    x = F.interpolate(x, scale_factor=2.0) if kind == "doubled" else x
    return conv(torch.cat([x, skip], 1))


def step_by_step(layer, x, skip):
    norm, outputs = layer.norm, []
    for k, source in enumerate(SOURCES):
        y = convolved(layer, x[k * B : (k + 1) * B], skip[source * B : (source + 1) * B])
        outputs.append(F.leaky_relu(F.batch_norm(y, None, None, norm.weight, norm.bias, True), 0.2))
    return torch.cat(outputs)


@pytest.mark.parametrize("kind", ["conv", "transposed", "doubled"])
def test_all_steps_at_once_are_one_after_the_other(kind):
    layer = layer_of(kind)
    found, wanted = called(layer, *inputs_of(kind)), step_by_step(layer, *inputs_of(kind))
    torch.testing.assert_close(found, wanted)
    weights = torch.randn(wanted.shape, dtype=torch.float64)
    x, skip = inputs_of(kind)
    of = [x, skip, layer.conv.weight, layer.norm.weight, layer.norm.bias]
    ours = torch.autograd.grad((layer(x, SOURCES, skip) * weights).sum(), of)
    theirs = torch.autograd.grad((step_by_step(layer, x, skip) * weights).sum(), of)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_what_is_kept_passes_its_gradient_on():
    layer = layer_of("conv")
    x, skip = inputs_of("conv")
    out, head = layer.kept(x, SOURCES, 2, skip)
    assert torch.equal(head, out[: 2 * B])
    (found,) = torch.autograd.grad(out.square().sum() + head.sin().sum(), x)
    plain = step_by_step(layer, x, skip)
    (wanted,) = torch.autograd.grad(plain.square().sum() + plain[: 2 * B].sin().sum(), x)
    torch.testing.assert_close(found, wanted)
    (alone,) = torch.autograd.grad(layer.kept(x, SOURCES, 2, skip)[1].sin().sum(), x)
    (wanted,) = torch.autograd.grad(step_by_step(layer, x, skip)[: 2 * B].sin().sum(), x)
    torch.testing.assert_close(alone, wanted)


def called(layer, x, skip):
    return layer(x, SOURCES, skip)


@pytest.mark.parametrize("kind", ["conv", "transposed", "doubled"])
def test_evaluation_uses_the_running_averages(kind):
    layer = layer_of(kind).eval()
    norm = layer.norm
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    x, skip = inputs_of(kind)
    y = convolved(layer, x, torch.cat([skip[s * B : (s + 1) * B] for s in SOURCES]))
    wanted = F.leaky_relu(F.batch_norm(y, norm.running_mean, norm.running_var, norm.weight, norm.bias), 0.2)
    torch.testing.assert_close(layer(x, SOURCES, skip), wanted)


def test_the_paper_switch_uses_the_batch_and_moves_nothing():
    ours, papers = layer_of("conv").eval(), layer_of("conv", statistics="batch").eval()
    x, skip = inputs_of("conv")
    torch.testing.assert_close(papers(x, SOURCES, skip), step_by_step(papers, x, skip))
    assert not torch.allclose(papers(x, SOURCES, skip), ours(x, SOURCES, skip))
    assert papers.norm.running_mean.eq(0).all() and papers.norm.running_var.eq(1).all()


@pytest.mark.parametrize("kind", ["conv", "transposed", "doubled"])
def test_statistics_of_the_frame_are_group_normalisation(kind):
    layer = layer_of(kind, statistics="frame")
    layer.norm = GroupNorm(1, 5).double()
    nn.init.normal_(layer.norm.weight)

    def plain(x, skip):
        y = convolved(layer, x, torch.cat([skip[s * B : (s + 1) * B] for s in SOURCES]))
        return F.leaky_relu(F.group_norm(y, 1, layer.norm.weight, layer.norm.bias), 0.2)

    x, skip = inputs_of(kind)
    of = [x, skip, layer.conv.weight, layer.norm.weight, layer.norm.bias]
    (found, head), wanted = layer.kept(x, SOURCES, 2, skip), plain(x, skip)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(head, wanted[: 2 * B])
    ours = torch.autograd.grad(found.square().sum() + head.sin().sum(), of)
    theirs = torch.autograd.grad(wanted.square().sum() + wanted[: 2 * B].sin().sum(), of)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(layer.eval()(x, SOURCES, skip), wanted)


def test_groups_divide_the_channels():
    groups = [FrameLayer(1, channels, 3, statistics="frame").norm.groups for channels in (16, 12, 7)]
    assert groups == [8, 4, 1]


def test_running_averages_move_towards_the_means_of_the_steps():
    norm, reference = StepNorm(3, 1.0).double(), nn.BatchNorm2d(3).double()
    x = torch.randn(2 * B, 3, 4, 4, dtype=torch.float64) * 3 + 1
    norm(x.clone(), None, [0, 1])
    means, variances = [], []
    for k in range(2):
        reference.reset_running_stats()
        reference(x[k * B : (k + 1) * B])
        means.append(reference.running_mean.clone())
        variances.append(reference.running_var.clone())
    torch.testing.assert_close(norm.running_mean, torch.stack(means).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack(variances).mean(0), rtol=1e-6, atol=0)


def test_a_layer_without_normalisation_shares_skips_too():
    layer = layer_of("transposed", normalised=False)
    x, skip = inputs_of("transposed")
    wanted = convolved(layer, x, torch.cat([skip[s * B : (s + 1) * B] for s in SOURCES]))
    torch.testing.assert_close(layer(x, SOURCES, skip), wanted)


def test_low_precision_is_close():
    layer = layer_of("transposed").float()
    x, skip = (y.detach().float() for y in inputs_of("transposed"))
    full = layer(x, SOURCES, skip)
    with torch.autocast("cpu", torch.bfloat16):
        low = layer(x, SOURCES, skip)
    assert low.dtype == torch.bfloat16
    assert (low.float() - full).abs().mean() < 0.02


def test_doubled_kernel_on_one_channel():
    weight = torch.arange(9.0).view(1, 1, 3, 3)
    x = torch.zeros(1, 1, 3, 3)
    x[0, 0, 1, 1] = 1
    found = F.conv_transpose2d(x, doubled_kernel(weight), stride=2, padding=1)
    torch.testing.assert_close(found, F.conv2d(F.interpolate(x, scale_factor=2.0), weight, padding=1))
