"""Milliseconds of the Kalman filter, smoother and likelihood, alone and with gradients, against plain PyTorch in one run.

    python benchmarks/kalman.py [--steps 20 50 200 1000] [--batch 64] [--n 4] [--p 2] [--repeats 5]

Time-varying A, C and Q, float32. The gradient is that of the sum of squared smoothed means, traces of covariances and the
log-likelihood, with respect to A, C, Q and y. One thread; times are the minimum over repeats of the process's CPU time, so
that other programs on the machine count as little as possible. Every method and length runs in a process of its own, whose
peak memory above a first small run is printed. The slope is that of log(time) over log(T), 1 is linear.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dynarium.ssm import LinearGaussian, kalman_filter, rts_smoother


def plain(model: LinearGaussian, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return smoothed means and covariances and the log-likelihood, the way it is usually written."""
    b, t, _ = y.shape
    m, P = model.m0.expand(b, -1)[..., None], model.P0.expand(b, -1, -1)
    eye, means, covs, predicted = torch.eye(P.shape[-1]), [], [], []
    log_likelihood = torch.zeros(b)
    for i in range(t):
        A, C, Q, R = model.A[:, i], model.C[:, i], model.Q[:, i], model.R
        if i:
            m, P = A @ m, A @ P @ A.mT + Q
        predicted.append((m, P))
        S = C @ P @ C.mT + R
        K = torch.linalg.solve(S, C @ P).mT
        seen = torch.distributions.MultivariateNormal((C @ m).squeeze(-1), S)
        log_likelihood = log_likelihood + seen.log_prob(y[:, i])
        m = m + K @ (y[:, i, :, None] - C @ m)
        J = eye - K @ C
        P = J @ P @ J.mT + K @ R @ K.mT
        means.append(m)
        covs.append(P)
    smoothed = [(means[-1], covs[-1])]
    for i in range(t - 2, -1, -1):
        m_next, P_next = predicted[i + 1]
        G = torch.linalg.solve(P_next, model.A[:, i + 1] @ covs[i]).mT
        m, P = smoothed[-1]
        smoothed.append((means[i] + G @ (m - m_next), covs[i] + G @ (P - P_next) @ G.mT))
    m, P = (torch.stack(part[::-1], 1) for part in zip(*smoothed, strict=True))
    return m.squeeze(-1), P, log_likelihood


def ours(method: str) -> Callable[[LinearGaussian, Tensor], tuple[Tensor, Tensor, Tensor]]:
    def run(model: LinearGaussian, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        filtered = kalman_filter(model, y, method=method)
        smoothed = rts_smoother(model, filtered, method=method)
        return smoothed.mean, smoothed.cov, filtered.log_likelihood.sum(1)

    return run


def pykalman_smoother(model: LinearGaussian, y: Tensor) -> None:
    """One sequence after the other, in float64, without gradients or likelihood."""
    from pykalman import KalmanFilter

    for A, C, Q, seen in zip(model.A.numpy(), model.C.numpy(), model.Q.numpy(), y.numpy(), strict=True):
        KalmanFilter(A[1:], C, Q[1:], model.R.numpy(), None, None, model.m0.numpy(), model.P0.numpy()).smooth(seen)


def problem(b: int, t: int, n: int, p: int) -> tuple[LinearGaussian, Tensor]:
    g = torch.Generator().manual_seed(0)
    root = 0.3 * torch.randn(b, t, n, n, generator=g)
    model = LinearGaussian(
        A=torch.eye(n) * 0.9 + 0.1 * torch.randn(b, t, n, n, generator=g),
        C=torch.randn(b, t, p, n, generator=g),
        Q=root @ root.mT + 0.05 * torch.eye(n),
        R=0.1 * torch.eye(p),
        m0=torch.zeros(n),
        P0=torch.eye(n),
    )
    return model, torch.randn(b, t, p, generator=g)


def best(run: Callable[[], object], repeats: int) -> float:
    run()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1000 * min(times)


def measure(method: str, b: int, t: int, n: int, p: int, repeats: int) -> dict[str, float]:
    model, y = problem(b, t, n, p)
    if method == "pykalman":
        run = lambda: pykalman_smoother(model, y)  # noqa: E731
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        forward, both = best(run, 1), math.nan
    else:
        infer = plain if method == "plain" else ours(method)
        leaves = [x.requires_grad_() for x in (model.A, model.C, model.Q, y)]
        infer(*problem(1, 2, n, p))  # compiles, where there is something to compile
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        def gradient() -> object:
            mean, cov, log_likelihood = infer(model, y)
            value = mean.square().sum() + cov.diagonal(dim1=-2, dim2=-1).sum() - log_likelihood.sum()
            return torch.autograd.grad(value, leaves)

        with torch.no_grad():
            forward = best(lambda: infer(model, y), repeats)
        both = best(gradient, repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"forward": forward, "both": both, "memory": peak / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 50, 200, 1000])
    parser.add_argument("--methods", nargs="+", default=["plain", "fused", "loop", "scan", "pykalman"])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--p", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one", action="store_true", help="measure one method and length here, print JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.one:
        print(json.dumps(measure(args.methods[0], args.batch, args.steps[0], args.n, args.p, args.repeats)))
        return
    print(f"batch {args.batch}, n = {args.n}, p = {args.p}, float32, one thread")
    print("| method | T | forward, ms | forward + gradient, ms | peak memory, MiB |\n|---|---|---|---|---|")
    for method in args.methods:
        times = []
        for t in args.steps:
            command = [sys.executable, __file__, "--one", "--methods", method, "--steps", str(t)]
            sizes = {"batch": args.batch, "n": args.n, "p": args.p, "repeats": args.repeats}
            command += [word for name, size in sizes.items() for word in (f"--{name}", str(size))]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                print(f"| {method} | {t} | {done.stderr.strip().splitlines()[-1]} | | |", flush=True)
                continue
            found = json.loads(done.stdout)
            times.append((t, found["forward"], found["both"]))
            print(
                f"| {method} | {t} | {found['forward']:.1f} | {found['both']:.1f} | {found['memory']:.0f} |", flush=True
            )
        if len(times) > 1:
            (t0, f0, g0), (t1, f1, g1) = times[0], times[-1]
            slopes = (math.log(after / before) / math.log(t1 / t0) for before, after in ((f0, f1), (g0, g1)))
            print(f"| {method} | slope | {' | '.join(f'{slope:.2f}' for slope in slopes)} | |", flush=True)


if __name__ == "__main__":
    main()
