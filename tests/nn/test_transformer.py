import math

import pytest
import torch

from dynarium.errors import UserError
from dynarium.nn.transformer import MLP, Attention, Block, initialise_as_gpt, rotary_angles, rotate


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def literal_attention(q, k, v, heads: int, visible=None, causal=False):
    """Softmax attention, one number at a time over sequences, heads and tokens."""
    b, t, d = q.shape
    e = d // heads
    out = torch.zeros_like(q)
    for i in range(b):
        for h in range(heads):
            part = slice(h * e, (h + 1) * e)
            for s in range(t):
                seen = [
                    r for r in range(k.shape[1]) if (not causal or r <= s) and (visible is None or bool(visible[i, r]))
                ]
                score = torch.stack([(q[i, s, part] * k[i, r, part]).sum() / math.sqrt(e) for r in seen]).exp()
                out[i, s, part] = sum(w * v[i, r, part] for w, r in zip(score / score.sum(), seen, strict=True))
    return out


@pytest.mark.parametrize("causal", [False, True])
def test_self_attention_is_softmax_attention(causal):
    attention, x = Attention(6, 2, causal=causal).double(), normal(2, 5, 6)
    q, k, v = (x @ w.T + c for w, c in zip(attention.mixed.weight.chunk(3), attention.mixed.bias.chunk(3), strict=True))
    expected = literal_attention(q, k, v, 2, causal=causal) @ attention.out.weight.T + attention.out.bias
    torch.testing.assert_close(attention(x), expected, rtol=1e-12, atol=1e-12)


def test_cross_attention_sees_the_visible_memory_only():
    attention, x, memory = Attention(6, 3, cross=True, bias=False).double(), normal(2, 4, 6), normal(2, 5, 6, seed=1)
    visible = torch.tensor([[True, False, True, True, False], [False, False, False, True, True]])
    key, value = attention.mixed.weight.chunk(2)
    gathered = literal_attention(x @ attention.query.weight.T, memory @ key.T, memory @ value.T, 3, visible)
    found = attention(x, memory, visible)
    torch.testing.assert_close(found, gathered @ attention.out.weight.T, rtol=1e-12, atol=1e-12)
    changed = torch.where(visible[..., None], memory, 1e3)
    assert torch.equal(attention(x, changed, visible), found)


@pytest.mark.parametrize("cross", [False, True])
def test_a_block_is_its_equations(cross):
    block, x, memory = Block(6, 2, cross=cross, causal=True).double(), normal(2, 4, 6), normal(2, 3, 6, seed=1)
    for p in block.parameters():
        torch.nn.init.normal_(p, std=0.5)

    def norm(layer, z):
        centred = z - z.mean(-1, keepdim=True)
        return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layer.weight + layer.bias

    expected = x + block.attention(norm(block.norm_self, x))
    if cross:
        expected = expected + block.cross(norm(block.norm_cross, expected), memory)
    inner = norm(block.norm_mlp, expected) @ block.mlp.inner.weight.T + block.mlp.inner.bias
    gelu = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    expected = expected + gelu @ block.mlp.out.weight.T + block.mlp.out.bias
    torch.testing.assert_close(block(x, memory=memory if cross else None), expected, rtol=1e-12, atol=1e-12)


def test_rotary_products_depend_on_the_difference_of_positions_only():
    q, k = normal(1, 1, 1, 8), normal(1, 1, 1, 8, seed=1)

    def product(i: int, j: int):
        at = [rotary_angles(torch.tensor([p]), 8) for p in (i, j)]
        return (rotate(q, at[0]) * rotate(k, at[1])).sum()

    torch.testing.assert_close(product(7, 3), product(-2, -6), rtol=1e-12, atol=1e-12)
    assert not torch.isclose(product(7, 3), product(7, 4))
    torch.testing.assert_close(rotate(q, rotary_angles(torch.tensor([5]), 8)).norm(), q.norm())
    # Rotation in the complex plane, written out: plane i by 5 / 10000^(2 i / 8).
    turned = torch.complex(q[..., :4], q[..., 4:]) * torch.exp(1j * 5 / 10_000 ** (torch.arange(4).double() / 4))
    expected = torch.cat([turned.real, turned.imag], -1)
    torch.testing.assert_close(rotate(q, rotary_angles(torch.tensor([5]), 8)), expected)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    block, x = Block(8, 2, dropout=0.5).double(), normal(1, 4, 8)
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_gpt_initialisation():
    torch.manual_seed(0)
    block = Block(128, 4)
    initialise_as_gpt(block, 24)
    for module in block.modules():
        if isinstance(module, Attention | MLP):
            assert module.out.weight.std().item() == pytest.approx(0.02 / math.sqrt(24), rel=0.05)
    assert block.mlp.inner.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not block.attention.mixed.bias.any()


def test_heads_must_share_the_width():
    with pytest.raises(UserError, match="model.width: expected a multiple of the 3 heads, got 8"):
        Attention(8, 3)
