"""LPIPS with weights from files: the names of torchvision and lpips, a literal transcription, and files that are wrong."""

import pytest
import torch
from torch import nn

from dynarium.errors import UserError
from dynarium.nn.perceptual import CHANNELS, STAGES, alexnet_features, load_lpips, vgg16_features


@pytest.fixture(scope="module", params=["alex", "vgg"])
def files(request, tmp_path_factory):
    network, where = request.param, tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    features = alexnet_features() if network == "alex" else vgg16_features()
    weights = {f"features.{key}": value for key, value in features.state_dict().items()}
    torch.save(weights | {"classifier.1.weight": torch.zeros(2, 2)}, where / "backbone.pth")
    heads = {f"lin{k}.model.1.weight": torch.rand(1, c, 1, 1) for k, c in enumerate(CHANNELS[network])}
    torch.save(heads, where / "heads.pth")
    return network, where, features, heads


def test_the_distance_is_that_of_the_package(files):
    network, where, features, heads = files
    lpips = load_lpips(network, where / "backbone.pth", where / "heads.pth")
    x, y = torch.rand(2, 2, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    total = torch.zeros(2)
    a, b = ((2 * z - 1 - shift[:, None, None]) / scale[:, None, None] for z in (x, y))
    stage = 0
    for i, layer in enumerate(features):
        a, b = layer(a), layer(b)
        if i + 1 == STAGES[network][stage]:
            assert isinstance(layer, nn.ReLU)
            na, nb = (z / (torch.sqrt((z**2).sum(1, keepdim=True)) + 1e-10) for z in (a, b))
            total = total + ((na - nb) ** 2 * heads[f"lin{stage}.model.1.weight"]).sum(1).mean((1, 2))
            stage += 1
    assert stage == 5
    torch.testing.assert_close(lpips(x, y), total.detach(), rtol=1e-4, atol=1e-6)
    assert not lpips(x, x).any()
    grey = x[:, :1]
    torch.testing.assert_close(lpips(grey, y), lpips(grey.expand(-1, 3, -1, -1), y))
    with pytest.raises(UserError, match="lpips: frames of 1 or 3 channels and at least"):
        lpips(x[..., :8, :8], y[..., :8, :8])


def test_the_layers_are_torchvisions():
    numbers = [int(key.split(".")[0]) for key in alexnet_features().state_dict() if key.endswith("weight")]
    assert numbers == [0, 3, 6, 8, 10]
    numbers = [int(key.split(".")[0]) for key in vgg16_features().state_dict() if key.endswith("weight")]
    assert numbers == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]


def test_wrong_files_are_refused(files, tmp_path):
    network, where, _, heads = files
    backbone, good = where / "backbone.pth", where / "heads.pth"
    (tmp_path / "text.pth").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save(heads | {"lin2.model.1.weight": torch.zeros(1, 7, 1, 1)}, tmp_path / "other.pth")
    for arguments, message in (
        ((tmp_path / "none.pth", good), "lpips_backbone: expected a file, got"),
        ((tmp_path / "text.pth", good), "lpips_backbone: .*text.pth is no state dict of torch.save"),
        ((tmp_path / "list.pth", good), "expected a state dict of tensors in .*list.pth, got a list"),
        ((good, good), "lpips_backbone: .*heads.pth lacks '0.weight'"),
        ((backbone, tmp_path / "other.pth"), "lpips_heads.lin2: expected 'model.1.weight' of shape"),
    ):
        with pytest.raises(UserError, match=message) as caught:
            load_lpips(network, *arguments)
        assert "\n" not in str(caught.value)
