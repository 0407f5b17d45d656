import torch

from dynarium.rendering.painted import as_bytes, paint, rounded_polygon

SQUARE = torch.tensor([[[-2.0, -2.0], [2.0, -2.0], [2.0, 2.0], [-2.0, 2.0]]])
WHITE = torch.ones(1, 3)


def blank(side=20):
    return torch.zeros(1, 3, side, side)


def test_a_square_on_pixel_edges_is_exact():
    canvas = blank()
    paint(canvas, torch.tensor([[7.0, 9.0]]), 4.0, rounded_polygon(SQUARE, torch.zeros(1)), WHITE)
    expected = blank()
    expected[..., 7:11, 5:9] = 1
    assert torch.equal(as_bytes(canvas), as_bytes(expected))


def test_areas_are_those_of_the_shapes():
    for corners, rounding, area in (
        (SQUARE, 1.5, 16 + 4 * 4 * 1.5 + torch.pi * 1.5**2),
        (SQUARE[:, [0, 1, 1, 1]], 2.0, 4 * 4 + torch.pi * 4),
        (torch.zeros(1, 4, 2), 4.0, torch.pi * 16),
    ):
        canvas = blank(24)
        paint(canvas, torch.tensor([[11.3, 12.6]]), 7.0, rounded_polygon(corners, torch.tensor([rounding])), WHITE)
        assert abs(float(canvas[0, 0].sum()) - area) < 0.02 * area


def test_later_shapes_hide_earlier_ones_and_a_rim_has_its_width():
    canvas, red = blank(), torch.tensor([[1.0, 0.0, 0.0]])
    shape = rounded_polygon(SQUARE * 2, torch.zeros(1))
    paint(canvas, torch.tensor([[10.0, 10.0]]), 6.0, shape, WHITE, red, 1.0)
    assert canvas[0, :, 10, 6].tolist() == [1, 0, 0] and canvas[0, :, 10, 7].tolist() == [1, 1, 1]
    paint(canvas, torch.tensor([[10.0, 10.0]]), 6.0, shape, red)
    assert canvas[0, :, 10, 10].tolist() == [1, 0, 0]


def test_windows_at_the_edge_of_the_frame():
    canvas = blank()
    paint(canvas, torch.tensor([[0.0, 20.0]]), 4.0, rounded_polygon(SQUARE, torch.zeros(1)), WHITE)
    assert canvas[0, 0].sum() == 4 and (canvas[0, 0, 18:, :2] == 1).all()
