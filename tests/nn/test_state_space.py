import pytest
import torch

from dynarium.nn.state_space import DiagonalStateSpace, StateSpaceBlock, linear_recurrence


def normal(*shape: int, seed: int = 0, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("steps", [1, 2, 7, 16, 33])
def test_the_parallel_recurrence_is_the_loop(steps):
    x = normal(2, steps, 5, dtype=torch.complex128)
    decay = torch.polar(torch.linspace(0.2, 1.0, 5).double(), normal(5))
    state, expected = torch.zeros_like(x[:, 0]), []
    for t in range(steps):
        state = decay * state + x[:, t]
        expected.append(state)
    torch.testing.assert_close(linear_recurrence(decay, x), torch.stack(expected, 1), rtol=1e-12, atol=1e-12)


def test_the_layer_is_its_state_space():
    torch.manual_seed(0)
    layer, x = DiagonalStateSpace(3, 4).double(), normal(2, 9, 3)
    eigenvalues = torch.exp(torch.complex(-layer.log_decay.exp(), layer.log_phase.exp()))
    gain = (1 - eigenvalues.abs() ** 2).sqrt()
    matrix_b = torch.complex(layer.enter.weight[:4], layer.enter.weight[4:])
    matrix_c = torch.complex(layer.leave.weight[:, :4], -layer.leave.weight[:, 4:])
    state, expected = torch.zeros(2, 4, dtype=torch.complex128), []
    for t in range(9):
        state = eigenvalues * state + gain * (x[:, t].to(torch.complex128) @ matrix_b.T)
        expected.append((state @ matrix_c.T).real + layer.direct * x[:, t])
    torch.testing.assert_close(layer(x), torch.stack(expected, 1), rtol=1e-12, atol=1e-12)


def test_fresh_eigenvalues_are_on_the_ring():
    torch.manual_seed(0)
    eigenvalues = DiagonalStateSpace(2, 500, slowest=0.99).eigenvalues()
    assert eigenvalues.abs().min() >= 0.4999 and eigenvalues.abs().max() <= 0.9901
    # Uniform on the ring: its inner half by area holds half of them.
    assert abs((eigenvalues.abs().square() < (0.25 + 0.99**2) / 2).float().mean() - 0.5) < 0.1


def test_a_block_is_causal_and_all_of_it_learns():
    torch.manual_seed(0)
    block, x = StateSpaceBlock(4, 3).double(), normal(2, 9, 4)
    changed = x.clone()
    changed[:, 5, 0] += 1  # one channel: the norm takes off what is common to all
    before, after = block(x), block(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=1e-13, atol=1e-13)
    assert (before[:, 5:] != after[:, 5:]).all()
    before.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
