"""Products of matrices are the convolutions that they stand for, gradients included."""

import pytest
import torch
import torch.nn.functional as F

from dynarium.nn.matrix_conv import doubling_conv, halving_conv, whole_conv, whole_transposed

CASES = {
    "whole": (whole_conv, F.conv2d, (3, 2, 4, 4), (5, 2, 4, 4)),
    "single": (whole_transposed, F.conv_transpose2d, (3, 2, 1, 1), (2, 5, 4, 4)),
    "halving": (halving_conv, lambda x, w: F.conv2d(x, w, stride=2, padding=1), (3, 2, 6, 8), (5, 2, 4, 4)),
    "doubling": (doubling_conv, lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1), (3, 2, 3, 4), (2, 5, 4, 4)),
}


@pytest.mark.parametrize("case", list(CASES))
def test_products_are_convolutions(case):
    ours, theirs, *shapes = CASES[case]
    torch.manual_seed(0)
    x, w = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    found, wanted = ours(x, w), theirs(x, w)
    torch.testing.assert_close(found, wanted)
    weights = torch.randn_like(wanted)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), (x, w)),
        torch.autograd.grad((wanted * weights).sum(), (x, w)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    with torch.autocast("cpu", torch.bfloat16):
        low = ours(x.detach().float(), w.detach().float())
    assert low.dtype == torch.bfloat16 and (low.double() - wanted).abs().max() < 0.2
