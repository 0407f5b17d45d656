import pytest
import torch

from dynarium.rendering import hard_bars, hard_discs, hard_walls
from dynarium.rendering.hard import disc_rows


def picture(text):
    return torch.tensor([[255 * (c == "#") for c in line] for line in text.split()], dtype=torch.uint8)


def test_a_disc_of_radius_three_with_its_radius_line():
    frame = hard_discs(torch.tensor([[4.9, 3.0]]), 3.0, 8)
    assert torch.equal(
        frame,
        picture("""
            ...##...
            ..####..
            .######.
            .#######
            ..####..
            ...##...
            ........
            ........"""),
    )


@pytest.mark.parametrize("radius", [1, 2, 3, 4, 6, 10, 24])
def test_rows_of_a_disc_are_symmetric_and_its_area_is_about_right(radius):
    rows = disc_rows(radius)
    assert rows == rows[::-1] and max(rows) == radius
    assert 2 * sum(rows) == pytest.approx(3.1416 * radius**2, rel=0.3)


def test_the_table_and_the_direct_way_draw_the_same():
    generator = torch.Generator().manual_seed(0)
    centres = 32 * torch.rand(50, 3, 2, generator=generator, dtype=torch.float64)
    background = hard_walls([(2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0)], 32, centres.device)
    by_table = hard_discs(centres, 3.0, 32, background)
    large = torch.zeros(160, 160, dtype=torch.uint8)
    large[:32, :32] = background
    direct = hard_discs(centres, 3.0, 160, large)
    assert torch.equal(by_table, direct[:, :32, :32])


def test_a_disc_outside_leaves_no_trace_and_one_at_the_edge_is_cut():
    centres = torch.tensor([[[16.0, 152.0]], [[-40.0, 5.0]], [[0.0, 16.0]], [[-3.0, 16.0]]])
    lit = (hard_discs(centres, 3.0, 32) > 0).sum((-1, -2))
    assert lit.tolist() == [0, 0, 13, 1]  # half the disc and its radius line; the line's last pixel


def test_walls_are_one_pixel_thick_and_closed():
    frame = hard_walls([(2.0, 2.0), (2.0, 30.0), (30.0, 30.0), (30.0, 2.0)], 32, torch.device("cpu"))
    assert int((frame > 0).sum()) == 112
    assert torch.equal(frame, frame.T)
    oblique = hard_walls([(1.0, 1.0), (6.0, 3.0), (1.0, 6.0)], 8, torch.device("cpu"))
    assert bool(oblique[1, 1]) and bool(oblique[3, 6]) and bool(oblique[6, 1])
    assert 5 <= int((oblique[:4] > 0).any(0).sum()) <= 6


def test_bars_include_both_corners_and_are_cut_at_the_edge():
    low, high = torch.tensor([[[1, 2], [6, -3]]]), torch.tensor([[[2, 4], [9, 0]]])
    frame = hard_bars(low, high, 8)[0]
    assert (frame > 0).nonzero().tolist() == [[0, 6], [0, 7], *[[r, c] for r in (2, 3, 4) for c in (1, 2)]]
