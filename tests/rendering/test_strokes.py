import torch

from dynarium.rendering.strokes import STYLES, stroke_digits


def test_digits_look_like_those_of_mnist_in_figures():
    """MNIST: mean .1307, standard deviation .3081, ink within 20 x 20 px around the middle."""
    images, labels = stroke_digits(500, seed=0)
    pixels = images.float() / 255
    assert 0.11 < pixels.mean() < 0.15 and 0.27 < pixels.std() < 0.34
    assert labels[:12].tolist() == [*range(10), 0, 1]
    ink = (pixels > 0.5).float()
    rows, columns = ink.amax(2), ink.amax(1)
    assert rows.sum(1).max() <= 24 and rows.sum(1).mean() > 16
    assert rows[:, [0, 27]].sum() == 0 and columns[:, [0, 27]].sum() == 0


def test_a_seed_says_everything_and_digits_differ():
    one, again, other = (stroke_digits(40, seed=seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one, again) and not (one == other).flatten(1).all(1).any()
    assert len(one.flatten(1).unique(dim=0)) == 40


def test_digits_can_be_told_apart():
    """The mean of a digit's pictures is nearer to a new one than that of another digit, nine times out of ten."""
    images, labels = stroke_digits(2000, seed=0)
    means = torch.stack([images[labels == digit].float().mean(0).flatten() for digit in range(10)])
    fresh, truth = stroke_digits(500, seed=1)
    nearest = torch.cdist(fresh.flatten(1).float(), means).argmin(1)
    assert (nearest == truth).double().mean() > 0.8
    assert {digit for digit, _ in STYLES} == set(range(10))
