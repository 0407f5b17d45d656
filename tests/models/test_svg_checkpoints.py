"""Original checkpoints: both forms, both file formats; and that nothing in a file is executed."""

import argparse
import os
from collections import OrderedDict

import pytest
import torch

from dynarium.errors import UserError
from dynarium.models.svg_checkpoints import load_svg_checkpoint
from dynarium.types import SequenceBatch
from originals import Elsewhere, G, R, Z, gaussian_lstm, lstm, networks_of, options_of, weights_of, written


def one_step(networks, x):
    """Return the frame after the context of one frame, computed by the original modules (DCGAN, prior's mean)."""
    for network in networks.values():
        network.eval()
    skips, y = [], x
    for k in range(1, 5):
        y = getattr(networks["encoder"], f"c{k}").main(y)
        skips.append(y)
    h = networks["encoder"].c5(y).flatten(1)

    def stepped(network, y):
        y = network.embed(y)
        for cell in network.lstm:
            y = cell(y)[0]
        return y

    z = networks["prior"].mu_net(stepped(networks["prior"], h))
    g = networks["frame_predictor"].output(stepped(networks["frame_predictor"], torch.cat([h, z], 1)))
    y = networks["decoder"].upc1(g[:, :, None, None])
    for k in range(2, 5):
        y = getattr(networks["decoder"], f"upc{k}").main(torch.cat([y, skips[5 - k]], 1))
    return networks["decoder"].upc5(torch.cat([y, skips[0]], 1))


@pytest.mark.parametrize("new", [True, False])
def test_pickled_networks(new):
    networks = networks_of()
    with Elsewhere(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # old files hold the source of their classes
        file = written(networks | {"opt": options_of()}, new)
    model = load_svg_checkpoint(file)
    assert model.config.prior == "learned" and model.config.context == 2 and model.config.beta.value == 1e-6
    x = torch.rand(2, 1, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            model.forecast(SequenceBatch(video=x), 1)[0, :, 0], one_step(networks, x[:, 0]), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("new", [True, False])
def test_weights_beside_options(new):
    networks = networks_of(actions=True)
    content = weights_of(networks)
    file = written(content | {"opt": options_of(action_cond=True, act_design=2, act_dim=4)}, new)
    model = load_svg_checkpoint(file)
    assert model.config.actions == "embedded" and not model.training
    assert torch.equal(model.actions[2].weight, networks["act_embed"].fc2.weight)
    assert torch.equal(model.predictor.lstm.weight_hh_l1, networks["frame_predictor"].lstm[1].weight_hh)
    assert torch.equal(model.decoder.first.norm.running_var, networks["decoder"].upc1[1].running_var)


def test_vgg_with_a_fixed_prior():
    networks = networks_of(prior=False, model="vgg")
    content = weights_of(networks)
    model = load_svg_checkpoint(written(content | {"opt": options_of("vgg")}))
    assert model.config.prior == "fixed" and model.config.backbone == "vgg"
    assert torch.equal(model.encoder.stages[2][1].conv.weight, networks["encoder"].c3[1].main[0].weight)
    assert torch.equal(model.decoder.last.conv.bias, networks["decoder"].upc5[1].bias)


@pytest.mark.parametrize(("given", "layers"), [({}, (2, 1, 1)), ({"rnn_layers": 3}, (3, 3, 3))])
@pytest.mark.parametrize("later", [None, "predictor_rnn_layers"])
def test_early_files_have_one_number_of_layers(given, layers, later):
    networks = networks_of()
    for name, n in zip(("frame_predictor", "posterior", "prior"), layers, strict=True):
        networks[name] = lstm(G + Z, n) if name == "frame_predictor" else gaussian_lstm(G, n)
    options = vars(options_of(**given))
    for name in ("predictor_rnn_layers", "posterior_rnn_layers", "prior_rnn_layers"):
        del options[name]
    if later:
        networks["frame_predictor"], options[later] = lstm(G + Z, 4), 4
    content = weights_of(networks)
    config = load_svg_checkpoint(written(content | {"opt": argparse.Namespace(**options)})).config
    wanted = (4, *layers[1:]) if later else layers
    assert (config.predictor_layers, config.posterior_layers, config.prior_layers) == wanted


class Malicious:
    def __init__(self, call):
        self.call = call

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("place", ["encoder", "opt"])
def test_nothing_is_executed(new, place, tmp_path):
    for call in ((os.mkdir, (str(tmp_path / "made"),)), (eval, ("__import__('os')",)), (getattr, (str, "upper"))):
        content = {"encoder": {}, "decoder": {}, "frame_predictor": {}, "posterior": {}, "opt": options_of()}
        content[place] = Malicious(call)
        with pytest.raises(UserError, match="nothing was executed"):
            load_svg_checkpoint(written(content, new))
    assert not (tmp_path / "made").exists()


def test_a_file_of_something_else_is_said():
    with pytest.raises(UserError, match="expected the keys encoder, decoder"):
        load_svg_checkpoint(written({"encoder": OrderedDict(a=torch.zeros(3))}))


def test_what_does_not_fit_is_said():
    networks = networks_of()
    content = weights_of(networks)
    with pytest.raises(UserError, match="frame_predictor does not fit"):
        load_svg_checkpoint(written(content | {"opt": options_of(rnn_size=R + 1)}))
    with pytest.raises(UserError, match="layers wanted"):
        load_svg_checkpoint(written(content | {"opt": options_of("vgg")}))
    with pytest.raises(UserError, match="options lack 'g_dim'"):
        load_svg_checkpoint(written(content | {"opt": argparse.Namespace()}))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"g_dim": "wide"}, "its option 'g_dim': expected int, got 'wide'"),
        ({"n_past": torch.zeros(3)}, "its option 'n_past': expected int, got Tensor"),
        ({"beta": "small"}, "its option 'beta': expected float, got 'small'"),
        ({"model": "resnet"}, "its option 'model': expected dcgan or vgg, got 'resnet'"),
        ({"action_cond": True, "act_design": 3}, "its option 'act_design': expected 1 or 2, got 3"),
        ({"image_width": 48}, "square frames with a side"),
    ],
)
def test_odd_options_are_said(changed, message):
    content = {name: {} for name in ("encoder", "decoder", "frame_predictor", "posterior", "prior")}
    with pytest.raises(UserError, match=message):
        load_svg_checkpoint(written(content | {"opt": options_of(**changed)}))


def test_odd_contents_are_said():
    content = weights_of(networks_of(actions=True))
    del content["act_embed"]
    with pytest.raises(UserError, match="its options want 'act_embed'; it holds encoder"):
        load_svg_checkpoint(written(content | {"opt": options_of(action_cond=True, act_design=2)}))
    content = weights_of(networks_of())
    for name, odd in (("opt", 3), ("encoder", 3), ("encoder", {"weight": torch.zeros(2)}), ("posterior", {})):
        with pytest.raises(UserError, match="checkpoint: "):
            load_svg_checkpoint(written(content | {"opt": options_of(), name: odd}))
