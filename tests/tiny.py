"""A tiny model for tests of the trainer: learns an affine map of the state, with noise in training."""

import torch
from torch import nn

from dynarium.objectives.gathering import whole_batch


class Tiny(nn.Module):
    def __init__(self, noise=0.1, bad_step=None, bad=float("nan"), spread=0.0):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))
        self.noise, self.bad_step, self.bad, self.spread = noise, bad_step, bad, spread

    def loss(self, batch, step):
        x = batch.state / 8
        wanted = 1 + x[..., :1]
        noise = self.noise * torch.randn(wanted.shape) if self.training and self.noise else 0.0
        answer = self.layers(x)
        loss = (answer - wanted + noise).square().mean()
        if self.spread:  # a statistic of the whole batch
            loss = loss + self.spread * (whole_batch(answer).var(0) - 1).square().mean()
        if self.training and step == self.bad_step:
            loss = loss * self.bad
        return loss, {"size": wanted.square().mean()}
