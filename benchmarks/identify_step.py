"""Seconds of a training step of the simulation transformer, against a literal eager one in float32.

    python benchmarks/identify_step.py [--steps 5] [--threads 2] [--layers 12] [--curve 0] [--device cpu] [--only NAME ...]

The model is that of Forgione, Pura & Piga 2023: 12 layers in encoder and decoder, width 128, 4 heads, batches of 32
sequences of 400 steps of context and 100 to simulate, one input and one output; forward, backward and AdamW. The eager one
writes attention out as the published model runs it: PyTorch's ``MultiheadAttention`` with the weights returned, a loop over
AdamW's parameters. A time is the least of all steps, by the clock; that of the processor is disturbed little by other jobs.
``--curve N`` trains N steps in both precisions from equal weights on equal random linear systems and prints the losses.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynarium.models.simulation_transformer import SimulationTransformer, SimulationTransformerConfig
from dynarium.training import keep_freed_memory
from dynarium.types import SequenceBatch

BATCH, CONTEXT, HORIZON, WIDTH, HEADS = 32, 400, 100, 128, 4


class EagerLayer(nn.Module):
    """A pre-norm layer on ``MultiheadAttention`` with its weights returned."""

    def __init__(self, decoder: bool) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True)
        self.cross = nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True) if decoder else None
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(3 if decoder else 2))
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH, bias=False)
        )

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """Return the tokens after this layer."""
        h, later = self.norms[0](x), None
        if self.cross is not None:
            later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        x = x + self.attention(h, h, h, attn_mask=later)[0]
        if self.cross is not None:
            x = x + self.cross(self.norms[1](x), memory, memory)[0]
        return x + self.mlp(self.norms[-1](x))


class Eager(nn.Module):
    """The encoder-decoder, literally."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.embed_context, self.embed_query = nn.Linear(2, WIDTH), nn.Linear(1, WIDTH)
        self.position_context, self.position_query = nn.Embedding(CONTEXT, WIDTH), nn.Embedding(HORIZON, WIDTH)
        self.encoder = nn.ModuleList(EagerLayer(decoder=False) for _ in range(layers))
        self.decoder = nn.ModuleList(EagerLayer(decoder=True) for _ in range(layers))
        self.norm_memory, self.norm = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.head = nn.Linear(WIDTH, 1)

    def loss(self, batch: SequenceBatch, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean squared error of the future."""
        assert batch.action is not None and batch.observation is not None
        past = torch.cat([batch.observation, batch.action], -1)[:, :CONTEXT]
        memory = self.embed_context(past) + self.position_context.weight
        for layer in self.encoder:
            memory = layer(memory)
        memory = self.norm_memory(memory)
        x = self.embed_query(batch.action[:, CONTEXT:]) + self.position_query.weight
        for layer in self.decoder:
            x = layer(x, memory)
        return F.mse_loss(self.head(self.norm(x)), batch.observation[:, CONTEXT:]), {}


def ours(layers: int) -> SimulationTransformer:
    return SimulationTransformerConfig(context=CONTEXT, horizon=HORIZON, layers=layers).build()


def batch_of(seed: int, device: str = "cpu") -> SequenceBatch:
    """Return sequences of random damped oscillators under white inputs, standardised."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(BATCH, CONTEXT + HORIZON, 1, generator=generator)
    magnitude, phase = 0.5 + 0.45 * torch.rand(BATCH, generator=generator), 1.5 * torch.rand(BATCH, generator=generator)
    first, second, y = 2 * magnitude * phase.cos(), -magnitude.square(), [torch.zeros(BATCH), torch.zeros(BATCH)]
    for t in range(CONTEXT + HORIZON - 2):
        y.append(first * y[-1] + second * y[-2] + u[:, t, 0])
    outputs = torch.stack(y, 1)[..., None]
    outputs = (outputs - outputs.mean(1, keepdim=True)) / outputs.std(1, keepdim=True)
    return SequenceBatch(action=u, observation=outputs).to(device)


def stepper(
    build: Callable[[int], nn.Module], layers: int, precision: str, fused: bool, device: str
) -> Callable[[SequenceBatch], Tensor]:
    """Return a function that takes one step of training and returns its loss."""
    torch.manual_seed(0)
    model = build(layers).to(device)
    kind = {"fused": True} if fused else {"foreach": False}
    optimiser = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.0, **kind)

    def step(batch: SequenceBatch) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss, _ = model.loss(batch, 0)  # pyright: ignore[reportCallIssue]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--curve", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    cases = {
        "eager-float32": (Eager, "float32", False),
        "ours-float32": (ours, "float32", True),
        "ours-bfloat16": (ours, "bfloat16", True),
    }
    parser.add_argument("--only", nargs="+", choices=list(cases), default=list(cases))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # what the trainer does
    torch.set_float32_matmul_precision("high")
    batch = batch_of(0, options.device)
    for name in options.only:
        build, precision, fused = cases[name]
        step = stepper(build, options.layers, precision, fused, options.device)
        wall, cpu = [], []
        for _ in range(options.steps + 1):
            start, start_cpu = time.perf_counter(), time.process_time()
            step(batch).item()
            wall.append(time.perf_counter() - start)
            cpu.append(time.process_time() - start_cpu)
        print(f"{name:14s} {min(wall[1:]):7.3f} s a step, {min(cpu[1:]):7.3f} s of the processor", flush=True)
    if options.curve:
        steps = {p: stepper(ours, options.layers, p, True, options.device) for p in ("float32", "bfloat16")}
        for k in range(options.curve):
            batch = batch_of(k, options.device)
            print(k, *(f"{p} {step(batch).item():.5f}" for p, step in steps.items()), flush=True)


if __name__ == "__main__":
    main()
