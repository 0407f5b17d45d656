"""A run directory made up without the trainer: a ball in a box, half of its frames missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CONFIG = """\
name: kvae-demo
world: {class: 'dynarium.systems.ball:BouncingBall', resolution: 32, steps: 20}
data: {directory: null, train: 2000, val: 200, test: 500, steps: null, seed: 0, window: null, online: false, workers: 2}
model:
  class: dynarium.models.kvae:KVAEConfig
  channels: [32, 32, 32]
  observation: 2
  state: 4
  modes: 3
training: {steps: 2400, batch_size: 32, seed: 0}
tasks:
- {class: 'dynarium.tasks.impute:Impute', p: [0.2, 0.5, 0.8]}
"""
VALUES = {
    "smooth": (0.0061, 0.0075, 0.0158),
    "filter": (0.0078, 0.0100, 0.0161),
    "reconstruction": (0.0031, 0.0031, 0.0031),
    "blank": (0.0140, 0.0140, 0.0140),
    "hold-last": (0.0162, 0.0189, 0.0243),
    "interpolate": (0.0120, 0.0133, 0.0155),
}
"""wrong_pixels_missing at p = .2, .5, .8: the model wins the first two columns and loses the last."""


def ball_video(n: int, steps: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a ball that bounces in a box: uint8 frames [n, steps, 1, 32, 32] and positions with velocities."""
    generator = np.random.default_rng(seed)
    start, velocity = generator.uniform(5, 27, (n, 1, 2)), generator.uniform(-3, 3, (n, 1, 2))
    unfolded = start - 4 + velocity * np.arange(steps)[None, :, None]
    position = 4 + np.abs((unfolded % 48 + 48) % 48 - 24)
    grid = np.mgrid[:32, :32].transpose(1, 2, 0)
    distance = np.linalg.norm(grid[None, None] - position[:, :, None, None], axis=-1)
    frames = (np.clip(3.5 - distance, 0, 1) * 255).astype(np.uint8)[:, :, None]
    return frames, np.concatenate([position, np.broadcast_to(velocity, position.shape)], axis=-1)


def rows() -> list[dict[str, Any]]:
    """Rows of an imputation: two metrics, random masks and blocks."""
    found = []
    for method, values in VALUES.items():
        baseline = method in ("blank", "hold-last", "interpolate")
        for metric, scale in (("wrong_pixels_missing", 1.0), ("wrong_pixels_all", 0.4)):
            for p, value in zip((0.2, 0.5, 0.8), values, strict=True):
                found.append(_row(method, metric, {"mask": "random", "p": p}, value * scale, baseline))
        for steps, value in zip((1, 5, 9, 15), np.linspace(values[0], 2 * values[-1], 4), strict=True):
            found.append(
                _row(method, "wrong_pixels_missing", {"mask": "block", "steps": steps}, float(value), baseline)
            )
    return found


def _row(method: str, metric: str, condition: dict[str, Any], value: float, baseline: bool) -> dict[str, Any]:
    return {
        "method": method,
        "metric": metric,
        "condition": condition,
        "value": value,
        "standard_error": value / 40,
        "n": 500,
        "baseline": baseline,
    }


@pytest.fixture
def impute_rows() -> list[dict[str, Any]]:
    """Rows in which the smoother wins at p = .2 and .5 and loses to the blank frame at .8."""
    return rows()


@pytest.fixture
def ball() -> np.ndarray:
    """Four short films of a ball, uint8."""
    return ball_video(4, 6)[0]


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """A whole run directory, in the layout of docs/architecture.md."""
    directory = tmp_path / "runs" / "20260102-030405-kvae-demo"
    make_run(directory)
    return directory


def make_run(directory: Path) -> None:
    """Write the run directory."""
    (directory / "results").mkdir(parents=True)
    (directory / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (directory / "metrics.jsonl").write_text(
        "\n".join(json.dumps(line) for line in _metrics()) + "\n", encoding="utf-8"
    )
    environment = {
        "created": "2026-01-02T03:04:05",
        "commit": "0123456789abcdef",
        "precision": "no",
        "versions": {"python": "3.12.3", "torch": "2.13.0", "numpy": "2.3.1"},
        "hardware": {"cpu": "two cores", "memory": "8 GiB", "accelerator": None},
    }
    (directory / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    about = {"run": directory.name, "dataset": "datasets/ball", "split": "test", "checkpoint": "best"}
    about["created"] = "2026-01-02T03:14:05"
    impute = {"task": "impute", **about, "rows": rows()}
    (directory / "results" / "impute.json").write_text(json.dumps(impute), encoding="utf-8")
    np.savez(directory / "results" / "impute.npz", **_impute_examples())
    generate = {"task": "generate", **about, "rows": [_row("generate", "mass_outside", {}, 0.02, False)]}
    (directory / "results" / "generate.json").write_text(json.dumps(generate), encoding="utf-8")
    long, _ = ball_video(3, 60, seed=3)
    other, _ = ball_video(3, 60, seed=4)
    films = {"video/deterministic": long / np.float32(255), "video/sample-1": other / np.float32(255)}
    np.savez(directory / "results" / "generate.npz", **films, context=np.asarray(8))


def _impute_examples() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    video, state = ball_video(4, 20)
    truth = video / np.float32(255)
    mask = generator.random((4, 20)) > 0.5
    mask[:, :2] = True
    blur = (truth + np.roll(truth, 1, -1) + np.roll(truth, 1, -2)) / np.float32(3)
    generated = ball_video(4, 20, seed=9)[0] / np.float32(255)
    a = (state[..., :2] @ np.array([[0.2, 0.1], [-0.1, 0.2]])).astype(np.float32)
    logits = np.stack([np.sin(state[..., 0] / 3), np.cos(state[..., 1] / 4), 0 * state[..., 0]], axis=-1) * 2
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return {
        "video/truth": truth,
        "video/observed": truth * mask[..., None, None, None],
        "video/filter": blur,
        "video/smooth": (blur + truth) / np.float32(2),
        "video/reconstruction": truth,
        "video/generated": generated,
        "mask": mask,
        "latent/a": a,
        "latent/a_smooth": a + generator.normal(0, 0.08, a.shape).astype(np.float32),
        "latent/z_smooth": np.concatenate([a, np.gradient(a, axis=1)], axis=-1),
        "weights": weights.astype(np.float32),
        "state": state.astype(np.float32),
    }


def _metrics() -> list[dict[str, Any]]:
    generator = np.random.default_rng(2)
    lines: list[dict[str, Any]] = []
    for step in range(10, 2401, 10):
        elbo = -700 * np.exp(-step / 60) - 60 * np.exp(-step / 700) + 35 + generator.normal(0, 2)
        scalars = {
            "loss": -elbo,
            "elbo": elbo,
            "log_p_x": elbo - 8,
            "log_q_a": 5 + 2 * np.tanh(step / 500),
            "log_p_a": 3 - 2 * np.exp(-step / 300),
            "learning_rate": 3e-3 * min(step / 200, 0.5 + 0.5 * np.cos(np.pi * step / 2400)),
            "grad_norm": 4 + 30 * np.exp(-step / 50) + generator.exponential(0.3),
            "active_units": 2.0,
        }
        common = {"step": step, "epoch": step // 62, "seconds": step * 0.12}
        lines.append(common | {"split": "train"} | {k: float(v) for k, v in scalars.items()})
        if step % 300 == 0:
            lines.append(common | {"split": "val", "loss": float(-elbo + 3), "elbo": float(elbo - 3)})
    return lines
