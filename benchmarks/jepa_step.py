"""Milliseconds per training step of the world models on moving dots, B=128, T=17, 28x28: against a plain transcription.

    python benchmarks/jepa_step.py [--steps 8] [--threads 2] [--batch 128] [--only vicreg simclr rssm]

The transcription has the published networks and losses the way they are usually written: float32, contiguous memory,
``nn.GRU``, Python loops over the time steps of every loss; the RSSM (its two Gaussians trained, as here) with a decoder
that enlarges to 54x54, shrinks to 28x28, and is called once a time step. Wall time and CPU time of the process are both
shown: where other jobs share the machine, the latter is what can be compared.
"""

import argparse
import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynarium.models.jepa import JEPA, JEPAConfig
from dynarium.models.jepa_terms import AcrossSequences, VICReg
from dynarium.models.rssm import RSSM, RSSMConfig
from dynarium.training import keep_freed_memory
from dynarium.types import SequenceBatch


def plain_inputs(model: JEPA | RSSM, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
    assert batch.video is not None and batch.action is not None
    scale = model.normalization
    x = (batch.video.float() / 255 - scale.pixel_mean) / scale.pixel_std
    return x, batch.action[:, :-1] / scale.action_scale


def plain_rollout(model: JEPA, batch: SequenceBatch) -> tuple[list[Tensor], list[Tensor]]:
    """Return encodings and predictions, one tensor a step."""
    assert model.gru is not None
    x, u = plain_inputs(model, batch)
    e = model.encoder.layers(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (x.shape[1], x.shape[0]))
    p, _ = model.gru.gru(u, e[:1].contiguous())
    return list(e), list(p.transpose(0, 1))


def plain_vicreg(model: JEPA, batch: SequenceBatch) -> Tensor:
    e, p = plain_rollout(model, batch)
    loss = torch.zeros(())
    for t in range(1, len(e)):
        b, d = e[t].shape
        x = e[t] - e[t].mean(0)
        std = F.relu(1 - torch.sqrt(x.var(0) + 1e-4)).mean()
        cov = x.T @ x / (b - 1)
        off_diagonal = cov.flatten()[:-1].view(d - 1, d + 1)[:, 1:]
        loss = loss + 20.0 * F.mse_loss(p[t - 1], e[t]) + 9.0 * std + off_diagonal.pow(2).sum() / d
    return loss / (len(e) - 1)


def plain_simclr(model: JEPA, batch: SequenceBatch) -> Tensor:
    e, p = plain_rollout(model, batch)
    loss = torch.zeros(())
    for t in range(1, len(e)):
        z = torch.cat([p[t - 1], e[t]])
        b = len(z) // 2
        similarity = z @ z.T
        similarity = similarity.masked_fill(torch.eye(2 * b, dtype=torch.bool), -9e15)
        other = torch.cat([torch.arange(b, 2 * b), torch.arange(b)])
        loss = loss + F.cross_entropy(similarity, other)
    return loss / (len(e) - 1)


def plain_decoder(model: RSSM, z: Tensor) -> Tensor:
    decoder = model.decoder
    h = F.relu(decoder.linear(z)).unflatten(1, decoder.grid)
    h = decoder.norms[0](F.relu(decoder.first(F.interpolate(h, scale_factor=2))))
    h = decoder.norms[1](F.relu(decoder.second(F.interpolate(h, scale_factor=3))))
    h = decoder.third(F.interpolate(h, scale_factor=3))
    return F.interpolate(h, (28, 28), mode="bilinear")


def plain_rssm(model: RSSM, batch: SequenceBatch) -> Tensor:
    x, u = plain_inputs(model, batch)
    b, t = x.shape[:2]
    e = model.encoder.layers(x.flatten(0, 1)).unflatten(0, (b, t))
    h, loss = e[:, 0], torch.zeros(())
    for i in range(t):
        raw = model.prior(h).chunk(2, -1)
        prior = torch.distributions.Normal(raw[0], F.softplus(raw[1]) + 0.1)
        hidden = F.relu(model.evidence(torch.cat([e[:, i], h], -1))).chunk(2, -1)
        std = F.softplus(model.posterior_std(hidden[1])) + 0.1
        posterior = torch.distributions.Normal(model.posterior_mean(hidden[0]), std)
        s = posterior.rsample()
        frame = plain_decoder(model, torch.cat([s, h], -1))
        loss = loss + 0.5 * F.mse_loss(frame, x[:, i], reduction="sum") / b
        loss = loss + torch.distributions.kl_divergence(posterior, prior).sum(-1).mean().clamp(min=1.0)
        if i < t - 1:
            h = model.cell(F.relu(model.inputs(torch.cat([s, u[:, i]], -1))), h)
    return loss / t


def timed(name: str, model: nn.Module, loss: Callable[[], Tensor], steps: int) -> tuple[float, float]:
    """Time whole training steps (forward, backward, Adam); print and return the medians of wall and CPU time in ms."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    times = []
    for _ in range(steps + 2):
        start = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        times.append((1e3 * (time.perf_counter() - start[0]), 1e3 * (time.process_time() - start[1])))
    wall, cpu = ([step[i] for step in times[2:]] for i in (0, 1))
    print(
        f"{name:<36} {statistics.median(wall):9.0f} {min(wall):9.0f} {statistics.median(cpu):9.0f} {min(cpu):9.0f}",
        flush=True,
    )
    return statistics.median(wall), statistics.median(cpu)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--only", nargs="+", default=["vicreg", "simclr", "rssm"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    video = (torch.rand(options.batch, 17, 1, 28, 28) > 0.9).to(torch.uint8) * 255
    batch = SequenceBatch(video=video, action=torch.randn(options.batch, 17, 2))
    load = f"load {os.getloadavg()[0]:.1f}"
    print(f"torch {torch.__version__}, {options.threads} threads, B={options.batch}, T=17, 28x28, {load}")
    print(f"{'':<36} {'wall ms':>9} {'min':>9} {'CPU ms':>9} {'min':>9}")
    cases = {
        "vicreg": (JEPAConfig(prediction=20.0, regularizer=VICReg(std=9.0)), plain_vicreg),
        "simclr": (JEPAConfig(prediction=0.0, regularizer=AcrossSequences()), plain_simclr),
        "rssm": (RSSMConfig(), plain_rssm),
    }
    for name in options.only:
        config, plain_loss = cases[name]
        made = config.build()
        made.prepare([batch])
        plain = copy.deepcopy(made).to(memory_format=torch.contiguous_format)
        slow = timed(f"{name}, plain float32", plain, partial(plain_loss, plain, batch), max(2, options.steps // 2))
        keep_freed_memory()  # what the trainer does
        for precision in (None, torch.bfloat16):
            model = copy.deepcopy(made)

            def ours(model: nn.Module = model, low: bool = precision is not None) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16, enabled=low):
                    return model.loss(batch, 0)[0]  # pyright: ignore[reportCallIssue]

            label = "bfloat16 autocast" if precision else "float32"
            fast = timed(f"{name}, dynarium, {label}", model, ours, options.steps)
            print(f"{'':<36} {slow[0] / fast[0]:8.1f}x {'':>9} {slow[1] / fast[1]:8.1f}x", flush=True)


if __name__ == "__main__":
    sys.exit(main())
