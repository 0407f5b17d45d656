"""Milliseconds per KVAE training step, B=32, T=20, 32x32: this package against a plain transcription, in one run.

The switching KVAE stands below, and under both what follows the encoder's a: networks of the mixture or the regimes, filter,
likelihood and their gradients.

    python benchmarks/kvae_step.py [--steps 20]

The transcription has the same networks and objective the way they are usually written: float32, contiguous memory, the
LSTM unrolled by hand, the filter and the smoother taped step by step with ``linalg.solve``, a sampled state.
"""

import argparse
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import MultivariateNormal

from dynarium.models.kvae import KVAE, KVAEConfig
from dynarium.models.switching_kvae import SwitchingKVAE, SwitchingKVAEConfig
from dynarium.ssm import kalman_filter
from dynarium.training import keep_freed_memory
from dynarium.types import SequenceBatch


def plain_loss(model: KVAE, video: Tensor) -> Tensor:
    """Return the paper's negative objective, written without any of the package's inference."""
    x = video.float() / 255
    b, t = x.shape[:2]
    h = x.flatten(0, 1)
    for layer in model.encoder.layers:
        h = F.relu(layer(h))
    mean, raw = model.posterior(h.flatten(1)).unflatten(0, (b, t)).chunk(2, -1)
    variance = 0.03 * raw.sigmoid() + 1e-6
    a = mean + variance.sqrt() * torch.randn_like(mean)
    h = model.decoder.linear(a.flatten(0, 1)).unflatten(1, model.decoder.grid)
    for layer in model.decoder.layers[:-1]:
        h = F.relu(F.pixel_shuffle(layer(h), 2))
    logits = F.pixel_shuffle(model.decoder.layers[-1](h), 2).unflatten(0, (b, t))
    log_x = -F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    log_q = torch.distributions.Normal(mean, variance.sqrt()).log_prob(a).sum()

    past, hidden = model.first.expand(b, -1), None
    m, P, eye = model.m0.expand(b, -1)[..., None], model.P0.expand(b, -1, -1), torch.eye(4)
    A_list, C_list, filtered, predicted = [], [], [], []
    for i in range(t):
        output, hidden = model.lstm(past[:, None], hidden)
        weights = model.mixture(output[:, 0]).softmax(-1)
        A = torch.einsum("bk,kij->bij", weights, model.A)
        C = torch.einsum("bk,kij->bij", weights, model.C)
        if i:
            m, P = A @ m, A @ P @ A.mT + model.Q
        predicted.append((m, P))
        S = C @ P @ C.mT + model.R
        K = torch.linalg.solve(S, C @ P).mT
        m = m + K @ (a[:, i, :, None] - C @ m)
        J = eye - K @ C
        P = J @ P @ J.mT + K @ model.R @ K.mT
        filtered.append((m, P))
        A_list.append(A)
        C_list.append(C)
        past = a[:, i]
    smoothed = [filtered[-1]]
    for i in range(t - 2, -1, -1):
        (m, P), (pm, pP) = filtered[i], predicted[i + 1]
        J = torch.linalg.solve(pP, A_list[i + 1] @ P).mT
        ms, Ps = smoothed[-1]
        smoothed.append((m + J @ (ms - pm), P + J @ (Ps - pP) @ J.mT))
    smoothed.reverse()
    ms = torch.stack([s[0] for s in smoothed], 1).squeeze(-1)
    Ps = torch.stack([s[1] for s in smoothed], 1)
    posterior = MultivariateNormal(ms, 0.5 * (Ps + Ps.mT) + 1e-6 * eye)
    z = posterior.rsample()
    A, C = torch.stack(A_list, 1), torch.stack(C_list, 1)
    moved = (A[:, 1:] @ z[:, :-1, :, None]).squeeze(-1)
    log_z = MultivariateNormal(moved, model.Q).log_prob(z[:, 1:]).sum()
    log_z = log_z + MultivariateNormal(model.m0, model.P0).log_prob(z[:, 0]).sum()
    log_a = MultivariateNormal((C @ z[..., None]).squeeze(-1), model.R).log_prob(a).sum()
    return -(0.3 * log_x - log_q + log_z + log_a - posterior.log_prob(z).sum()) / (b * t)


def dynamics_loss(model: KVAE | SwitchingKVAE, a: Tensor) -> Tensor:
    """Return -log p(a), as the training step computes it."""
    if isinstance(model, SwitchingKVAE):
        tracked = model.track(a)
        with torch.no_grad():
            tracked.chain.divergence(tracked.chain.posterior())
        return -tracked.bank.log_likelihood.mean()
    return -kalman_filter(model.linear_gaussian(model.dynamics(a)), a).log_likelihood.mean()


def timed(name: str, model: KVAE | SwitchingKVAE, loss, steps: int, *, update: bool = True) -> float:
    """Time whole training steps (forward, backward, clipping, Adam), print and return the median in ms."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    times = []
    for _ in range(steps + 3):
        start = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        if update:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    times = times[3:]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name:<44} {statistics.median(times):8.1f} {min(times):8.1f} {peak:8.0f} MiB", flush=True)
    return statistics.median(times)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    video = (torch.rand(32, 20, 1, 32, 32) > 0.87).to(torch.uint8) * 255
    batch = SequenceBatch(video=video)
    print(f"torch {torch.__version__}, {options.threads} threads, B=32, T=20, 32x32, median of {options.steps} steps")
    print(f"{'':<44} {'ms':>8} {'min':>8} {'peak so far':>12}")

    def ours(precision: torch.dtype | None, name: str, config: KVAEConfig | SwitchingKVAEConfig) -> float:
        model = config.build()

        def loss() -> Tensor:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is not None):
                return model.loss(batch, 10_000)[0]

        return timed(name, model, loss, options.steps)

    model = KVAE(KVAEConfig()).to(memory_format=torch.contiguous_format)
    plain = timed("plain transcription, float32", model, lambda: plain_loss(model, video), options.steps)
    ours(torch.bfloat16, "dynarium, bfloat16, memory not kept", KVAEConfig())
    keep_freed_memory()  # what the trainer does
    fast = ours(torch.bfloat16, "dynarium, bfloat16 autocast", KVAEConfig())
    full = ours(None, "dynarium, float32", KVAEConfig())
    a = torch.randn(32, 20, 2, requires_grad=True)
    times = [fast, ours(torch.bfloat16, "switching KVAE, bfloat16 autocast", SwitchingKVAEConfig())]
    for whole, config in zip(times, (KVAEConfig(), SwitchingKVAEConfig()), strict=True):
        model = config.build()
        kind = type(model).__name__
        part = timed(
            f"of which dynamics, {kind}", model, lambda m=model: dynamics_loss(m, a), options.steps, update=False
        )
        print(f"{kind}: the dynamics are {part / whole:.0%} of the step")
    print(f"switching to plain KVAE: {times[1] / times[0]:.2f}x")
    print(f"ratio to the plain transcription: {plain / fast:.1f}x (bfloat16), {plain / full:.1f}x (float32)")


if __name__ == "__main__":
    sys.exit(main())
