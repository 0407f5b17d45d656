import torch

from dynarium.ssm.kmeans import kmeans, nearest_centre


def test_clusters_far_apart_are_found():
    g = torch.Generator().manual_seed(0)
    truth = torch.arange(3).repeat_interleave(50)
    corners = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = corners[truth] + torch.randn(150, 2, generator=g)
    label, centres = kmeans(points, 3, torch.Generator().manual_seed(1))
    for k in range(3):
        assert len(label[truth == k].unique()) == 1
        torch.testing.assert_close(centres[label[truth == k][0]], points[truth == k].mean(0))
    assert torch.equal(nearest_centre(points[None], centres)[0], label)


def test_fewer_points_than_clusters():
    label, centres = kmeans(torch.ones(4, 2), 3, torch.Generator().manual_seed(0))
    assert centres.isfinite().all() and len(label) == 4
