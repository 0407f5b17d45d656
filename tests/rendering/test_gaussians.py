import math

import torch

from dynarium.rendering.gaussians import gaussian_dots, peak


def test_a_dot_is_a_normalised_gaussian_of_the_plane():
    centres = 2.6 + 21.8 * torch.rand(3, 4, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    frames = gaussian_dots(centres, 1.3, 28)
    row, column = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
    offset = torch.stack([column, row], -1).double() - centres[..., None, None, :]
    expected = torch.exp(-offset.square().sum(-1) / (2 * 1.3**2)) / (2 * math.pi * 1.3**2)
    assert frames.dtype == torch.float32 and frames.shape == (3, 4, 2, 28, 28)
    torch.testing.assert_close(frames.double(), expected, rtol=0, atol=5e-8)
    assert (frames.sum((-1, -2)) > 0.95).all() and (frames.sum((-1, -2)) < 1 + 1e-5).all()


def test_x_is_the_column_and_row_0_is_the_top():
    frame = gaussian_dots(torch.tensor([[[[20.0, 4.0]]]]), 1.3, 28)[0, 0, 0]
    assert divmod(int(frame.argmax()), 28) == (4, 20)
    assert math.isclose(float(frame.max()), peak(1.3), rel_tol=1e-6) and round(peak(1.3), 4) == 0.0942
