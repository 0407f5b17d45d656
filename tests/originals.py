"""Networks of the original code of stochastic video generation, as far as names and order of their parameters go."""

import argparse
import io
import sys
import types
from itertools import pairwise

import torch
from torch import nn

G, Z, R = 6, 2, 5


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


class Elsewhere:
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


def weights_of(networks):
    return {name: network.state_dict() for name, network in networks.items()}


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
