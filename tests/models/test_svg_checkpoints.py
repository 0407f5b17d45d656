"""Original checkpoints: both forms, both file formats; and that nothing in a file is executed."""

import argparse
import io
import os
import sys
import types
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from torch import nn

from dynarium.errors import UserError
from dynarium.models.svg_checkpoints import load_svg_checkpoint
from dynarium.types import SequenceBatch

W, G, Z, R = 3, 6, 2, 5


# ---- the original networks, as far as names and order of their parameters go -------------------------------------------


class dcgan_conv(nn.Module):  # noqa: N801
    def __init__(self, i, o, transposed=False):
        super().__init__()
        conv = nn.ConvTranspose2d(i, o, 4, 2, 1) if transposed else nn.Conv2d(i, o, 4, 2, 1)
        self.main = nn.Sequential(conv, nn.BatchNorm2d(o), nn.LeakyReLU(0.2, inplace=True))


class vgg_layer(nn.Module):  # noqa: N801
    def __init__(self, i, o):
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(i, o, 3, 1, 1), nn.BatchNorm2d(o), nn.LeakyReLU(0.2, inplace=True))


class encoder(nn.Module):  # noqa: N801
    def __init__(self, model):
        super().__init__()
        if model == "dcgan":
            sizes = (1, 64, 128, 256, 512)
            for k in range(4):
                setattr(self, f"c{k + 1}", dcgan_conv(sizes[k], sizes[k + 1]))
        else:
            plan = [(1, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512)]
            for k, s in enumerate(plan):
                layers = [vgg_layer(i, o) for i, o in pairwise(s)]
                setattr(self, f"c{k + 1}", nn.Sequential(*layers))
        self.c5 = nn.Sequential(nn.Conv2d(512, G, 4), nn.BatchNorm2d(G), nn.Tanh())
        self.mp = nn.MaxPool2d(2)


class decoder(nn.Module):  # noqa: N801
    def __init__(self, model):
        super().__init__()
        self.upc1 = nn.Sequential(nn.ConvTranspose2d(G, 512, 4), nn.BatchNorm2d(512), nn.LeakyReLU(0.2))
        if model == "dcgan":
            for k, (i, o) in enumerate([(1024, 256), (512, 128), (256, 64)]):
                setattr(self, f"upc{k + 2}", dcgan_conv(i, o, True))
            self.upc5 = nn.Sequential(nn.ConvTranspose2d(128, 1, 4, 2, 1), nn.Sigmoid())
        else:
            for k, s in enumerate([(1024, 512, 512, 256), (512, 256, 256, 128), (256, 128, 64)]):
                layers = [vgg_layer(i, o) for i, o in pairwise(s)]
                setattr(self, f"upc{k + 2}", nn.Sequential(*layers))
            self.upc5 = nn.Sequential(vgg_layer(128, 64), nn.ConvTranspose2d(64, 1, 3, 1, 1), nn.Sigmoid())


class lstm(nn.Module):  # noqa: N801
    def __init__(self, i, layers):
        super().__init__()
        self.embed = nn.Linear(i, R)
        self.lstm = nn.ModuleList([nn.LSTMCell(R, R) for _ in range(layers)])
        self.output = nn.Sequential(nn.Linear(R, G), nn.Tanh())
        self.hidden = [(torch.zeros(2, R), torch.zeros(2, R)) for _ in range(layers)]


class gaussian_lstm(nn.Module):  # noqa: N801
    def __init__(self, i, layers=1):
        super().__init__()
        self.embed = nn.Linear(i, R)
        self.lstm = nn.ModuleList([nn.LSTMCell(R, R) for _ in range(layers)])
        self.mu_net, self.logvar_net = nn.Linear(R, Z), nn.Linear(R, Z)


class act_embed(nn.Module):  # noqa: N801
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 32), nn.Linear(32, 32)


class _Elsewhere:
    """While in force, the classes pretend to live in the original modules, so that pickles name those."""

    def __enter__(self):
        self.before, self.modules = [], {}
        places = {"models.lstm": (lstm, gaussian_lstm), "models.net": (dcgan_conv, vgg_layer, encoder, decoder)}
        for name, classes in places.items():
            self.modules[name] = module = types.ModuleType(name)
            for one in classes:
                self.before.append((one, one.__module__))
                one.__module__ = name
                setattr(module, one.__name__, one)
        sys.modules.update(self.modules | {"models": types.ModuleType("models")})

    def __exit__(self, *_):
        for one, module in self.before:
            one.__module__ = module
        for name in [*self.modules, "models"]:
            del sys.modules[name]


def networks_of(prior=True, model="dcgan", actions=False):
    torch.manual_seed(0)
    u = 32 if actions else 0
    found = {
        "encoder": encoder(model),
        "decoder": decoder(model),
        "frame_predictor": lstm(G + u + Z, 2),
        "posterior": gaussian_lstm(G),
    }
    found |= {"prior": gaussian_lstm(G + u)} if prior else {}
    found |= {"act_embed": act_embed()} if actions else {}
    for network in found.values():
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5) if "running_var" in name else value.normal_(0, 0.1)
    return found


def options_of(model="dcgan", **changed):
    return argparse.Namespace(
        **{"model": model, "image_width": 64, "channels": 1, "g_dim": G, "z_dim": Z, "rnn_size": R, "n_past": 2}
        | {"predictor_rnn_layers": 2, "posterior_rnn_layers": 1, "prior_rnn_layers": 1, "last_frame_skip": False}
        | {"beta": 1e-6, "optimizer": torch.optim.Adam}
        | changed
    )


def written(content, new=True):
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=new)
    return file


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
    with _Elsewhere(), pytest.MonkeyPatch.context() as patch:
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
    content = {name: network.state_dict() for name, network in networks.items()}
    file = written(content | {"opt": options_of(action_cond=True, act_design=2, act_dim=4)}, new)
    model = load_svg_checkpoint(file)
    assert model.config.actions == "embedded" and not model.training
    assert torch.equal(model.actions[2].weight, networks["act_embed"].fc2.weight)
    assert torch.equal(model.predictor.lstm.weight_hh_l1, networks["frame_predictor"].lstm[1].weight_hh)
    assert torch.equal(model.decoder.first.norm.running_var, networks["decoder"].upc1[1].running_var)


def test_vgg_with_a_fixed_prior():
    networks = networks_of(prior=False, model="vgg")
    content = {name: network.state_dict() for name, network in networks.items()}
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
    content = {name: network.state_dict() for name, network in networks.items()}
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
    content = {name: network.state_dict() for name, network in networks.items()}
    with pytest.raises(UserError, match="frame_predictor does not fit"):
        load_svg_checkpoint(written(content | {"opt": options_of(rnn_size=R + 1)}))
    with pytest.raises(UserError, match="layers wanted"):
        load_svg_checkpoint(written(content | {"opt": options_of("vgg")}))
    with pytest.raises(UserError, match="options lack 'g_dim'"):
        load_svg_checkpoint(written(content | {"opt": argparse.Namespace()}))
