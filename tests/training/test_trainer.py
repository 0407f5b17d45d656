"""The trainer: exact resume, failures, interrupts, distributed equality."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dynarium.data import StoredSource, make_dataset
from dynarium.errors import RunError, UserError
from dynarium.objectives.schedules import Cosine
from dynarium.training import RunDirectory, Trainer, TrainingConfig, load_weights
from dynarium.training.trainer import State, optimizer_of
from tiny import Tiny
from worlds import Drift

CONFIG = {
    "steps": 30,
    "batch_size": 16,
    "learning_rate": Cosine(value=1e-2, warmup=3, until=30),
    "precision": "float32",
    "validate_every": 10,
    "checkpoint_every": 10,
    "log_every": 4,
    "trackers": (),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return make_dataset(Drift(), tmp_path_factory.mktemp("data") / "d", sizes={"train": 100, "val": 20})


def fit(dataset, directory, *, resume=False, model=None, callbacks=(), **changed):
    torch.manual_seed(0)
    model = model or Tiny()
    directory.mkdir(exist_ok=True)
    train = StoredSource(dataset, "train", batch_size=16, seed=1)
    val = StoredSource(dataset, "val", batch_size=16, shuffle=False, drop_last=False)
    run = RunDirectory(directory)
    config = TrainingConfig(**CONFIG | changed)
    Trainer(model, train, val, config, run, quiet=True, callbacks=callbacks).fit(resume=resume)
    return run


def without_time(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_a_run_learns_and_leaves_its_files(dataset, tmp_path):
    run = fit(dataset, tmp_path / "run")
    records = run.read_metrics()
    train = [r for r in records if r["split"] == "train"]
    assert [r["step"] for r in train] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert {"loss", "size", "gradient_norm", "learning_rate", "epoch", "seconds"} <= set(train[0])
    val = [r for r in records if r["split"] == "val"]
    assert [r["step"] for r in val] == [10, 20, 30]
    assert val[-1]["loss"] < val[0]["loss"]
    assert train[-1]["learning_rate"] == Cosine(value=1e-2, warmup=3, until=30)(29)
    environment = run.read_environment()
    assert environment["precision"] == "float32"
    assert set(environment["versions"]) >= {"torch", "numpy", "python", "dynarium"}
    assert environment["parameters"] == 33
    model = Tiny()
    load_weights(model, run.directory, "best")
    with torch.no_grad():
        assert model.eval().loss(dataset.batch("val", range(20)), 0)[0].item() == pytest.approx(
            min(v["loss"] for v in val)
        )


class StopAt:
    """Interrupts a training from a callback, as Ctrl-C would."""

    def __init__(self, step):
        self.step = step

    def __call__(self, model, trackers, step):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"optimizer": "rmsprop"}, {"optimizer": "sgd"}], ids=str)
def test_resumed_equals_uninterrupted_to_the_bit(dataset, tmp_path, options):
    whole = fit(dataset, tmp_path / "whole", **options)
    stopping = {"media_every": 1, "trackers": ("tensorboard",), "callbacks": (StopAt(13),)}
    with pytest.raises(KeyboardInterrupt):
        fit(dataset, tmp_path / "cut", **options, **stopping)
    cut = RunDirectory(tmp_path / "cut")
    assert json.loads((cut.checkpoints / "last" / "about.json").read_text())["step"] == 13
    cut.append({"step": 17, "split": "train", "loss": 1.0})  # as if it had gone on after its last checkpoint
    fit(dataset, tmp_path / "cut", **options, resume=True)
    environment = cut.read_environment()
    assert len(environment["resumed"]) == 1 and environment["resumed"][0]["precision"] == "float32"
    for name in ("best", "last"):
        a, b = (load_file(r.checkpoints / name / "weights.safetensors") for r in (whole, cut))
        assert all(torch.equal(a[key], b[key]) for key in a)
    assert without_time(whole.read_metrics()) == without_time(cut.read_metrics())


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from tiny import Tiny
from dynarium.data import Dataset, StoredSource
from dynarium.training import RunDirectory, Trainer, TrainingConfig
class Slow(Tiny):
    def loss(self, batch, step):
        time.sleep(0.03)
        return super().loss(batch, step)
torch.manual_seed(0)
data = Dataset({data!r})
Trainer(Slow(), StoredSource(data, "train", batch_size=16, seed=1),
    StoredSource(data, "val", batch_size=16, shuffle=False, drop_last=False),
    TrainingConfig(steps=400, batch_size=16, precision="float32",
        checkpoint_every=5, validate_every=10, log_every=4, trackers=()),
    RunDirectory({run!r}), quiet=True).fit()
"""


def test_a_killed_run_resumes_to_the_bit(dataset, tmp_path):
    (tmp_path / "cut").mkdir()
    script = tmp_path / "job.py"
    tests = str(Path(__file__).parent.parent)
    script.write_text(KILLED.format(tests=tests, data=str(dataset.directory.absolute()), run=str(tmp_path / "cut")))
    job = subprocess.Popen([sys.executable, str(script)], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    last = tmp_path / "cut" / "checkpoints" / "last"
    limit = time.monotonic() + 60
    while not last.exists() and time.monotonic() < limit and job.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    job.kill()
    job.wait()
    assert job.returncode == -signal.SIGKILL
    options = {"steps": 60, "checkpoint_every": 5, "learning_rate": TrainingConfig().learning_rate}
    cut = fit(dataset, tmp_path / "cut", resume=True, **options)
    whole = fit(dataset, tmp_path / "whole", **options)
    a, b = (load_file(r.checkpoints / "last" / "weights.safetensors") for r in (whole, cut))
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert without_time(whole.read_metrics()) == without_time(cut.read_metrics())


@pytest.mark.parametrize(("bad", "word"), [(float("nan"), "nan"), (1e9, "jumped")])
def test_a_broken_loss_stops_with_the_batch_saved(dataset, tmp_path, bad, word):
    with pytest.raises(RunError, match=f"{word}.* at step 25 .*failure"):
        fit(dataset, tmp_path / "run", model=Tiny(bad_step=25, bad=bad))
    saved = torch.load(tmp_path / "run" / "failure" / "step.pt", weights_only=True)
    assert saved["step"] == 25
    assert saved["batch"]["state"].shape == (16, 6, 2)
    assert all(value.isfinite().all() for value in saved["model"].values())  # the bad step was not taken
    record = json.loads((tmp_path / "run" / "failure" / "failure.json").read_text())
    assert record["step"] == 25
    assert json.loads((tmp_path / "run" / "checkpoints" / "last" / "about.json").read_text())["step"] == 20


@pytest.mark.parametrize(("last", "exploded"), [(5e-3, False), (0.9, False), (2e3, True), (-2e3, True)])
def test_a_tiny_loss_may_jump_back_to_where_it_began(last, exploded):
    state = State("float32")
    for step in range(3000):
        state.values["step"] = step
        assert not state.exploded(math.exp(-step / 100) + 1e-7, 0.0, 1e3)
    assert bool(state.exploded(last, 0.0, 1e3)) == exploded


def test_early_stopping(dataset, tmp_path):
    run = fit(dataset, tmp_path / "run", steps=3000, learning_rate=Cosine(value=0.0, until=9), early_stopping=2)
    assert run.read_metrics()[-1]["step"] == 30
    assert json.loads((run.checkpoints / "last" / "about.json").read_text())["step"] == 30


def test_a_full_disk_is_an_error_of_the_system(dataset, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        RunDirectory(tmp_path / "run").append({"step": 1})


def test_nothing_to_resume(dataset, tmp_path):
    with pytest.raises(UserError, match="has no checkpoint 'last'; it has none"):
        fit(dataset, tmp_path / "run", resume=True)
    run = fit(dataset, tmp_path / "other", steps=1)
    with pytest.raises(UserError, match="does not fit the model"):
        load_weights(torch.nn.Linear(3, 3), run.directory, "last")


def test_precision_is_measured_and_said(dataset, tmp_path):
    environment = fit(dataset, tmp_path / "run", precision="auto", steps=2).read_environment()
    assert environment["precision"] == min(environment["step_seconds"], key=environment["step_seconds"].get)
    same = fit(dataset, tmp_path / "same", precision=environment["precision"], steps=2)
    a, b = (load_file(tmp_path / r / "checkpoints" / "last" / "weights.safetensors") for r in ("run", "same"))
    assert all(torch.equal(a[key], b[key]) for key in a)  # measuring changed nothing
    assert same.read_environment()["step_seconds"] == {}


DISTRIBUTED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
from tiny import Tiny
from dynarium.data import Dataset, StoredSource
from dynarium.training import RunDirectory, Trainer, TrainingConfig, rank_and_world
rank, world = rank_and_world()
torch.manual_seed(0)
data = Dataset({data!r})
Trainer(Tiny(noise=0, spread=1.0), StoredSource(data, "train", batch_size=16, seed=1, rank=rank, world_size=world),
    StoredSource(data, "val", batch_size=8, shuffle=False, drop_last=False),
    TrainingConfig(steps=12, batch_size=16, precision="float32",
        checkpoint_every=5, validate_every=6, log_every=1, trackers=()),
    RunDirectory({run!r}), quiet=True).fit()
"""


LAUNCH = [
    "--multi_gpu",
    "--num_machines",
    "1",
    "--mixed_precision",
    "no",
    "--dynamo_backend",
    "no",
    "--main_process_port",
    "0",
]
"""The launcher calls several processes ``multi_gpu``; with ``ACCELERATE_USE_CPU`` they are processes on the CPU."""


def test_two_processes_give_the_loss_of_one(dataset, tmp_path):
    records = {}
    for processes in (2, 1):
        run = tmp_path / str(processes)
        run.mkdir()
        script = tmp_path / f"job{processes}.py"
        tests = str(Path(__file__).parent.parent)
        script.write_text(DISTRIBUTED.format(tests=tests, data=str(dataset.directory.absolute()), run=str(run)))
        launch = ["-m", "accelerate.commands.launch", "--num_processes", "2", *LAUNCH] if processes > 1 else []
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        }
        done = subprocess.run(
            [sys.executable, *launch, str(script)], env=environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        records[processes] = RunDirectory(run).read_metrics()
        assert (RunDirectory(run).read_environment()["processes"]) == processes
    assert len(records[1]) == len(records[2]) == 14
    for one, two in zip(records[1], records[2], strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-5), one["step"]


def test_options_of_adam_reach_the_optimiser():
    model = Tiny()
    options = {"optimizer": "adamw", "betas": (0.8, 0.95), "weight_decay": 0.1, "decayed": "matrices", "fused": True}
    optimiser = optimizer_of(model, TrainingConfig(**CONFIG | options))
    matrices, others = optimiser.param_groups
    assert (matrices["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert all(p.ndim > 1 for p in matrices["params"]) and all(p.ndim <= 1 for p in others["params"])
    assert len(matrices["params"]) + len(others["params"]) == len(list(model.parameters()))
    assert all(group["betas"] == (0.8, 0.95) and group["fused"] for group in optimiser.param_groups)
    with pytest.raises(UserError, match="training.betas"):
        TrainingConfig(**CONFIG | {"betas": (0.9, 1.0)})


@pytest.mark.parametrize("name", ["rmsprop", "sgd"])
def test_steps_of_rmsprop_and_sgd_are_the_formula_written_out(name):
    weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0]], dtype=torch.float64))
    model, lr, (momentum, decay) = torch.nn.Module(), 1e-2, (0.8, 0.95)
    model.weight = weight
    options = {"optimizer": name, "betas": (momentum, decay), "weight_decay": 0.1}
    optimiser = optimizer_of(model, TrainingConfig(**CONFIG | options))
    w, running = weight.detach().clone(), torch.zeros(1, 2, dtype=torch.float64)
    for step in range(4):
        optimiser.param_groups[0]["lr"] = lr
        optimiser.zero_grad()
        (weight**3).sum().backward()
        optimiser.step()
        g = 3 * w**2 + 0.1 * w
        if name == "sgd":
            running = momentum * running + g
            w = w - lr * running
        else:
            running = decay * running + (1 - decay) * g**2
            w = w - lr * g / (running.sqrt() + 1e-8)
        torch.testing.assert_close(weight.detach(), w, msg=f"step {step}")


def test_fused_steps_are_those_of_adam(dataset, tmp_path):
    found = []
    for fused in (False, True):
        run = fit(dataset, tmp_path / str(fused), optimizer="adamw", weight_decay=0.01, fused=fused)
        found.append(load_file(run.checkpoints / "last" / "weights.safetensors"))
    for name, weight in found[0].items():
        torch.testing.assert_close(found[1][name], weight, rtol=1e-4, atol=1e-6)
