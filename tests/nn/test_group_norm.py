import pytest
import torch
import torch.nn.functional as F

from dynarium.nn import group_norm
from dynarium.nn.group_norm import GroupNorm


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("frames_at_once", [1, 3, 100])
def test_it_is_group_normalisation_forwards_and_backwards(monkeypatch, groups, frames_at_once):
    monkeypatch.setattr(group_norm, "AT_ONCE", frames_at_once * 6 * 5 * 4)
    torch.manual_seed(0)
    x = (
        (3 + torch.randn(7, 6, 5, 4, dtype=torch.float64))
        .contiguous(memory_format=torch.channels_last)
        .requires_grad_()
    )
    layer = GroupNorm(groups, 6, epsilon=1e-3).double()
    with torch.no_grad():
        layer.weight.normal_()
        layer.bias.normal_()
    weight = torch.randn_like(x)
    found, wanted = layer(x), F.group_norm(x, groups, layer.weight, layer.bias, 1e-3)
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, wanted)
    leaves = (x, layer.weight, layer.bias)
    for one, other in zip(*(torch.autograd.grad((y * weight).sum(), leaves) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other)


def test_in_bfloat16_it_is_as_near_to_the_truth_as_rounding_is():
    torch.manual_seed(0)
    x = (5 + torch.randn(4, 8, 9, 9)).bfloat16().requires_grad_()
    layer = GroupNorm(4, 8)
    y = layer(x)
    assert y.dtype == torch.bfloat16
    wanted = F.group_norm(x.float(), 4)
    torch.testing.assert_close(y.float(), wanted, atol=2e-2, rtol=1e-2)
    assert torch.autograd.grad(y.float().square().sum(), x)[0].dtype == torch.bfloat16


def test_its_parameters_have_the_names_of_pytorchs():
    assert set(GroupNorm(2, 4).state_dict()) == set(torch.nn.GroupNorm(2, 4).state_dict())
