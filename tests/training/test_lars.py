import copy

import pytest
import torch
from torch import nn

from dynarium.objectives.schedules import Cosine
from dynarium.training.lars import LARS


def literal(w, g, m, lr, decay=1e-2, momentum=0.9, trust=1e-3):
    if w.ndim > 1:
        g = g + decay * w
        w_norm, g_norm = (w * w).sum() ** 0.5, (g * g).sum() ** 0.5
        g = g * (trust * w_norm / g_norm if w_norm > 0 and g_norm > 0 else 1.0)
    m = momentum * m + g
    return w - lr * m, m


def test_steps_are_the_formula_written_out():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3), nn.Linear(3, 2)).double()
    with torch.no_grad():
        model[2].weight.zero_()  # nothing to be relative to
    ours = copy.deepcopy(model)
    optimizer = LARS(ours.parameters(), lr=1.0, weight_decay=1e-2)
    schedule = Cosine(value=0.5, end=0.0005, warmup=2, until=6)
    weights = [p.detach().clone() for p in model.parameters()]
    momenta = [torch.zeros_like(w) for w in weights]
    x = torch.randn(8, 4, dtype=torch.float64)
    for step in range(6):
        optimizer.param_groups[0]["lr"] = schedule(step)
        optimizer.zero_grad()
        (ours(x) - 1).square().mean().backward()
        for i, p in enumerate(ours.parameters()):
            weights[i], momenta[i] = literal(weights[i], p.grad, momenta[i], schedule(step))
        optimizer.step()
        for p, w in zip(ours.parameters(), weights, strict=True):
            torch.testing.assert_close(p.detach(), w)


def test_its_state_is_saved_and_missing_gradients_are_left_out():
    p, q = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    optimizer = LARS([p, q], lr=1.0)
    p.sum().backward()
    optimizer.step()
    assert (q == 1).all() and p[0, 0].item() == pytest.approx(1 - 1e-3)
    again = LARS([p, q], lr=1.0)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[p]["momentum"], optimizer.state[p]["momentum"])
