import pytest
import torch
import torch.nn.functional as F

from dynarium.nn.chunked_attention import ChunkedAttention, chunked_attention
from dynarium.nn.transformer import Attention


def heads(*sizes, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_() for size in sizes]


@pytest.mark.parametrize(("t", "s", "causal"), [(7, 7, False), (7, 7, True), (5, 9, False)])
def test_result_and_gradients_are_those_of_attention(t, s, causal):
    q, k, v, g = heads((3, 4, t, 6), (3, 4, s, 6), (3, 4, s, 6), (3, 4, t, 6))
    found = chunked_attention(q, k, v, causal=causal)
    expected = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for a, b in zip(*(torch.autograd.grad(x, (q, k, v), g.detach()) for x in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_in_bfloat16_it_is_as_close_as_the_fused_kernel():
    q, k, v = heads((2, 4, 64, 16), (2, 4, 64, 16), (2, 4, 64, 16), dtype=torch.bfloat16)
    truth = F.scaled_dot_product_attention(*(x.detach().double() for x in (q, k, v)))
    fused, ours = F.scaled_dot_product_attention(q, k, v), chunked_attention(q, k, v, causal=False)
    assert ours.dtype == torch.bfloat16

    def error(x):
        return (x.double() - truth).norm()

    assert error(ours) < 1.5 * error(fused)


def test_it_stands_in_where_it_is_faster_only(monkeypatch):
    calls = []
    plain = ChunkedAttention.apply
    monkeypatch.setattr(ChunkedAttention, "apply", lambda *x: calls.append(x) or plain(*x))
    attention, x = Attention(32, 4), torch.randn(2, 10, 32)
    expected = attention(x)
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(x)
        assert len(calls) == 1
        attention(x, visible=torch.ones(2, 10, dtype=torch.bool))
        with torch.no_grad():
            attention(x)
    assert len(calls) == 1
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)
    found.float().square().mean().backward()
    assert attention.mixed.weight.grad.isfinite().all()
