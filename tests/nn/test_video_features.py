"""Features of videos: random ones that see what goes wrong, and those of a network in a file."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from dynarium.errors import UserError
from dynarium.metrics.frechet import frechet_distance
from dynarium.nn.video_features import I3D, RandomVideoFeatures
from dynarium.nn.weight_files import file_hash


def films(n=48, t=10, seed=0):
    """Return bright squares that move to the right on a ring."""
    g = torch.Generator().manual_seed(seed)
    video = torch.zeros(n, t, 1, 16, 16)
    for i, (x, y) in enumerate(torch.randint(0, 12, (n, 2), generator=g).tolist()):
        for k in range(t):
            columns = (torch.arange(4) + x + k) % 16
            video[i, k, 0, y : y + 4, columns] = 1
    return video


def test_the_weights_are_the_same_everywhere():
    torch.manual_seed(7)
    network = RandomVideoFeatures(1)
    first = network.layers[0].weight
    assert torch.equal(first, RandomVideoFeatures(1).layers[0].weight)
    assert not torch.equal(first, RandomVideoFeatures(1, seed=1).layers[0].weight)
    assert not any(p.requires_grad for p in network.parameters())


def test_the_distance_grows_with_what_goes_wrong():
    network, true = RandomVideoFeatures(1), films()
    reference = network(films(seed=1))
    assert reference.shape == (48, 64)
    g = torch.Generator().manual_seed(2)
    noise = torch.randn(true.shape, generator=g)
    spoiled = {
        "nothing": true,
        "little noise": (true + 0.1 * noise).clamp(0, 1),
        "much noise": (true + 0.4 * noise).clamp(0, 1),
        "frozen": true[:, :1].expand_as(true),
        "shuffled in time": true[:, torch.randperm(10, generator=g)],
        "blurred": nn.functional.avg_pool2d(true.flatten(0, 1), 5, 1, 2).unflatten(0, true.shape[:2]),
    }
    distance = {name: frechet_distance(network(video), reference) for name, video in spoiled.items()}
    noisy = [frechet_distance(network(spoiled[f"{much} noise"]), network(true)) for much in ("little", "much")]
    assert 1e-4 < noisy[0] < noisy[1] / 4
    for name in ("frozen", "shuffled in time", "blurred"):
        assert distance[name] > 1.5 * distance["nothing"], name


class Tiny(nn.Module):
    """Stands for the published script: it takes the same options."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv3d(3, 5, 3, stride=4)

    def forward(self, x: Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False) -> Tensor:
        assert not rescale and not resize and return_features
        assert x.shape[1] == 3 and x.shape[3] == 224 and x.shape[4] == 224
        return self.layer(x).mean((2, 3, 4))


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amin((2, 3, 4)) - x.amax((2, 3, 4))


def saved(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), path)
    return path


def test_a_network_in_a_file(tmp_path):
    path = saved(Tiny(), tmp_path / "i3d.pt")
    network, video = I3D(path), films(2, 9)
    assert network.hash == file_hash(path, "fvd_network") and len(network.hash) == 64
    assert network(video).shape == (2, 5)
    assert I3D(saved(Flat(), tmp_path / "flat.pt"))(video)[0].tolist() == [-2.0] * 3  # frames in [-1, 1], made coloured
    with pytest.raises(UserError, match="fvd: at least 9 frames of 1 or 3 channels wanted, got 8 of 1"):
        network(video[:, :8])


def test_wrong_files_are_refused(tmp_path):
    (tmp_path / "text.pt").write_text("no network")
    with pytest.raises(UserError, match="fvd_network: expected a TorchScript file, got .*text.pt") as caught:
        I3D(tmp_path / "text.pt")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="fvd_network: expected a file, got"):
        I3D(tmp_path / "none.pt")
