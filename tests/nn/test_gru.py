import pytest
import torch

from dynarium.nn.gru import OpenLoopGRU


@pytest.mark.parametrize("layers", [1, 2])
def test_states_and_gradients_are_those_of_torch(layers):
    torch.manual_seed(0)
    model = OpenLoopGRU(2, 5, layers).double()
    start = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    u = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    plain = model.gru(u, start.expand(layers, -1, -1).contiguous())[0]
    ours = model(start, u)
    torch.testing.assert_close(ours, plain)
    cotangent = torch.randn_like(plain)
    wanted = torch.autograd.grad(plain, (start, u, *model.parameters()), cotangent)
    found = torch.autograd.grad(ours, (start, u, *model.parameters()), cotangent)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_size_and_bfloat16():
    torch.manual_seed(0)
    model = OpenLoopGRU(2, 512)
    assert sum(p.numel() for p in model.parameters()) == 792_576
    start, u = torch.randn(4, 512), torch.randn(4, 6, 2)
    full = model(start, u)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(start, u)
    assert low.dtype == torch.float32
    assert 0 < (low - full).abs().max() < 0.02
    low.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
