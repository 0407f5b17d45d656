import itertools

import torch

from dynarium.metrics.segmentation import matched


def test_the_best_of_all_permutations():
    g = torch.Generator().manual_seed(0)
    found, truth = torch.randint(4, (200,), generator=g), torch.randint(4, (200,), generator=g)
    truth[:60] = (found[:60] + 1) % 4
    best = max(float((torch.tensor(p)[found] == truth).float().mean()) for p in itertools.permutations(range(4)))
    assert float((matched(found, truth)[found] == truth).float().mean()) == best


def test_more_modes_than_there_are():
    names = matched(torch.tensor([0, 0, 1, 1, 2]), torch.tensor([1, 1, 0, 0, 0]))
    assert names.tolist() == [1, 0, -1]
