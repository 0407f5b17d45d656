"""A tiny model for tests of the trainer: learns an affine map of the state, with noise in training."""

import torch
from torch import nn


class Tiny(nn.Module):
    def __init__(self, noise=0.1, bad_step=None, bad=float("nan")):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        self.noise, self.bad_step, self.bad = noise, bad_step, bad

    def loss(self, batch, step):
        x = batch.state / 8
        wanted = 1 + x[..., :1]
        noise = self.noise * torch.randn(wanted.shape) if self.training and self.noise else 0.0
        loss = (self.layers(x) - wanted + noise).square().mean()
        if self.training and step == self.bad_step:
            loss = loss * self.bad
        return loss, {"size": wanted.square().mean()}
