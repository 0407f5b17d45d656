"""Seconds per training step of SVG-LP on moving digits: this package against a plain transcription, in one run.

    python benchmarks/svg_step.py [--batch 16] [--steps 3] [--device cuda]

The shape is the paper's: DCGAN of width 64 on one channel of 64x64, 5 frames of context and 10 more. The transcription does
what the authors' loop does, the way it does it: float32, frame after frame, every frame but the first and the last encoded
twice, skip connections concatenated, LSTM cells called step by step, one Adam for each of five networks. Both sides begin
with the same weights; the losses of the first step, with the same draws, are printed beside.

CPU seconds are those that the process spent on all its cores: they hold still where other work shares the machine.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from dynarium.models.svg import SVG, SVGConfig
from dynarium.training import keep_freed_memory
from dynarium.types import SequenceBatch

CONTEXT, FRAMES, BETA = 5, 15, 1e-4


def block(conv: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.LeakyReLU(0.2, inplace=True))


class PlainEncoder(nn.Module):
    """DCGAN of 64 pixels, one call a frame."""

    def __init__(self, w: int = 64, g: int = 128) -> None:
        super().__init__()
        sizes = (1, w, 2 * w, 4 * w, 8 * w)
        self.stages = nn.ModuleList(block(nn.Conv2d(i, o, 4, 2, 1), o) for i, o in pairwise(sizes))
        self.last = nn.Sequential(nn.Conv2d(8 * w, g, 4), nn.BatchNorm2d(g), nn.Tanh())

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return vectors and skips."""
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return self.last(x).flatten(1), skips


class PlainDecoder(nn.Module):
    """Its mirror image."""

    def __init__(self, w: int = 64, g: int = 128) -> None:
        super().__init__()
        self.first = block(nn.ConvTranspose2d(g, 8 * w, 4), 8 * w)
        sizes = (8 * w, 4 * w, 2 * w, w)
        self.stages = nn.ModuleList(block(nn.ConvTranspose2d(2 * i, o, 4, 2, 1), o) for i, o in pairwise(sizes))
        self.last = nn.Sequential(nn.ConvTranspose2d(2 * w, 1, 4, 2, 1), nn.Sigmoid())

    def forward(self, z: Tensor, skips: list[Tensor]) -> Tensor:
        """Return frames."""
        x = self.first(z[:, :, None, None])
        for stage, skip in zip(self.stages, skips[:0:-1], strict=True):
            x = stage(torch.cat([x, skip], 1))
        return self.last(torch.cat([x, skips[0]], 1))


class PlainLSTM(nn.Module):
    """Cells that keep their state between calls."""

    def __init__(self, inputs: int, layers: int, heads: int, outputs: int, hidden: int = 256) -> None:
        super().__init__()
        self.embed = nn.Linear(inputs, hidden)
        self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))
        self.heads = nn.ModuleList(nn.Linear(hidden, outputs) for _ in range(heads))

    def reset(self, b: int) -> None:
        """Forget everything."""
        zeros = self.embed.weight.new_zeros(b, 256)
        self.state = [(zeros, zeros) for _ in self.cells]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Take a step; return what the heads say."""
        x = self.embed(x)
        for k, cell in enumerate(self.cells):
            self.state[k] = cell(x, self.state[k])
            x = self.state[k][0]
        return [head(x) for head in self.heads]


class Plain:
    """The five networks and their step."""

    def __init__(self, device: str) -> None:
        self.encoder, self.decoder = PlainEncoder(), PlainDecoder()
        self.predictor, self.posterior, self.prior = (
            PlainLSTM(138, 2, 1, 128),
            PlainLSTM(128, 1, 2, 10),
            PlainLSTM(128, 1, 2, 10),
        )
        self.networks = [self.encoder, self.decoder, self.predictor, self.posterior, self.prior]
        for network in self.networks:
            network.to(device)

    def copy(self, model: SVG) -> None:
        """Take the weights of the package's model; parameters come in the same order in both."""
        theirs = [model.encoder, model.decoder, model.predictor, model.posterior, model.prior]
        for network, other in zip(self.networks, theirs, strict=True):
            assert other is not None
            for p, q in zip(network.parameters(), other.parameters(), strict=True):
                p.data.copy_(q.data)

    def loss(self, video: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the loss; ``noise`` [b, 14, 10] in place of fresh draws."""
        x = (video.float() / 255).transpose(0, 1)
        for network in (self.predictor, self.posterior, self.prior):
            network.reset(video.shape[0])
        mse, kld, skip = x.new_zeros(()), x.new_zeros(()), []
        for i in range(1, FRAMES):
            h, skips = self.encoder(x[i - 1])
            target, _ = self.encoder(x[i])
            if i <= CONTEXT:
                skip = skips
            mean, log_variance = self.posterior(target)
            epsilon = torch.randn_like(mean) if noise is None else noise[:, i - 1]
            z = mean + epsilon * (0.5 * log_variance).exp()
            prior_mean, prior_log_variance = self.prior(h)
            g = self.predictor(torch.cat([h, z], 1))[0].tanh()
            frame = self.decoder(g, skip)
            mse = mse + nn.functional.mse_loss(frame, x[i])
            s1, s2 = (0.5 * log_variance).exp(), (0.5 * prior_log_variance).exp()
            kl = (
                (s2 / s1).log() + (log_variance.exp() + (mean - prior_mean) ** 2) / (2 * prior_log_variance.exp()) - 0.5
            )
            kld = kld + kl.sum() / len(video)
        return mse + BETA * kld


def timed(
    name: str, networks: list[nn.Module], loss: Callable[[], Tensor], steps: int, device: str
) -> tuple[float, float]:
    """Time whole training steps, the first one apart; print and return the median wall and CPU seconds."""
    optimizers = [torch.optim.Adam(network.parameters(), lr=2e-3) for network in networks]
    wall, cpu = [], []
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for _ in range(steps + 1):
        began = time.perf_counter(), time.process_time()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss().backward()
        for optimizer in optimizers:
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - began[0])
        cpu.append(time.process_time() - began[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**20
    medians = statistics.median(wall[1:]), statistics.median(cpu[1:])
    print(f"{name:<40} {medians[0]:8.3f} {min(wall[1:]):8.3f} {medians[1]:8.3f} {peak:8.0f} MiB", flush=True)
    return medians


def main() -> None:
    """Print the table. Peak memory of the CPU is that of the process so far, so the leaner side goes first."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    keep_freed_memory()  # what the trainer does
    device = options.device
    video = ((torch.rand(options.batch, FRAMES, 1, 64, 64) > 0.9).to(torch.uint8) * 255).to(device)
    batch = SequenceBatch(video=video)
    model, plain = SVGConfig().build().to(device), Plain(device)
    plain.copy(model)
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        torch.manual_seed(1)
        with torch.no_grad():
            ours = model.loss(batch, 0)[0].item()
        torch.manual_seed(1)
        noise = torch.randn(options.batch, FRAMES - 1, 10, device=device)
        with torch.no_grad():
            theirs = plain.loss(video, noise).item()
    print(f"torch {torch.__version__}, {options.threads} threads, {device}, B={options.batch}, 5 + 10 frames of 64x64")
    print(f"loss of the first step in float32: {ours:.7f}, of the transcription {theirs:.7f}")
    print(f"{'median of ' + str(options.steps) + ' steps':<40} {'s':>8} {'min':>8} {'CPU s':>8} {'peak so far':>12}")

    def low() -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return model.loss(batch, 0)[0]

    fast = timed("dynarium, bfloat16 autocast", [model], low, options.steps, device)
    full = timed("dynarium, float32", [model], lambda: model.loss(batch, 0)[0], options.steps, device)
    slow = timed("plain transcription, float32", plain.networks, lambda: plain.loss(video), options.steps, device)
    for name, ratio in (("bfloat16", fast), ("float32", full)):
        print(f"speed-up in {name}: {slow[0] / ratio[0]:.2f} (wall), {slow[1] / ratio[1]:.2f} (CPU seconds)")


if __name__ == "__main__":
    main()
