"""``dynarium import``: a checkpoint of the original code becomes a run that can be asked and reported."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dynarium.cli import main
from dynarium.data import write_arrays
from dynarium.recipes import load_run
from originals import Elsewhere, networks_of, options_of, weights_of, written

ASKED = ["--task", "forecast-video", "--forecast-video.samples", "2", "--forecast-video.metrics", "psnr"]


def films(directory="films", n=3, steps=5, side=64):
    g = np.random.default_rng(0)
    video = g.integers(0, 255, (n, steps, 1, side, side), dtype=np.uint8)
    action = g.normal(size=(n, steps, 4)).astype(np.float32)
    write_arrays(
        Path(directory), {"train": {"video": video, "action": action}, "test": {"video": video, "action": action}}
    )
    return directory


def put(file, content):
    Path(file).write_bytes(written(content).getvalue())
    return file


def imported(*words):
    assert main(["import", *words]) == 0
    (run,) = Path("runs").iterdir()
    return run


def test_a_checkpoint_with_actions_is_asked_and_reported(capsys):
    networks = networks_of(actions=True)
    learned = {"lr": 1e-3, "beta1": 0.5, "batch_size": 7, "niter": 3, "epoch_size": 20, "seed": 4, "n_future": 6}
    options = options_of(action_cond=True, act_design=2, act_dim=4, **learned)
    run = imported(put("model_0003.pth", weights_of(networks) | {"opt": options}))
    assert capsys.readouterr().out == f"run: {run}\n"
    found = load_run(run)
    model, training = found.experiment.model, found.experiment.training
    assert (model.context, model.frame, model.control, model.actions) == (2, (1, 64, 64), 4, "embedded")
    assert (model.prior, model.statistics, model.skips, model.beta.value) == ("learned", "running", "mended", 1e-6)
    assert (training.steps, training.batch_size, training.betas, training.seed) == (60, 7, (0.5, 0.999), 4)
    assert training.learning_rate(0) == 1e-3 and found.experiment.data.window == 8
    assert torch.equal(found.model.actions[2].weight, networks["act_embed"].fc2.weight)
    assert found.files.read_environment()["imported"]["file"] == "model_0003.pth"

    assert main(["evaluate", str(run), "--data", films(), *ASKED]) == 0
    record = json.loads((run / "results" / "forecast-video-on-films.json").read_text())
    assert (record["protocol"]["context"], record["protocol"]["horizon"], record["protocol"]["clips"]) == (2, 3, 3)
    assert main(["report", str(run)]) == 0
    assert "A SVG imported from the checkpoint model_0003.pth." in (run / "report.html").read_text()
    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 2
    assert "--data: svg-lp-imported names no world" in capsys.readouterr().err


def test_pickled_networks_answer_as_the_authors_sampled(capsys):
    """Without actions, about data that have some; three sequences in batches of two, by the statistics of the batch."""
    networks = networks_of(prior=False)
    with Elsewhere():
        put("model.pth", networks | {"opt": options_of()})
    run = imported("model.pth", "--statistics", "batch", "--skips", "paper")
    model = load_run(run).experiment.model
    assert (model.prior, model.statistics, model.skips) == ("fixed", "batch", "paper")
    assert main(["evaluate", str(run), "--data", films(), *ASKED, "--forecast-video.batch-size", "2"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--data", films("wide", side=32), *ASKED]) == 2
    assert "--data: expected frames (1, 64, 64), got (1, 32, 32)" in capsys.readouterr().err


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("made",)


def whole(**options):
    return weights_of(networks_of()) | {"opt": options_of(**options)}


def zipped(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", b"data")


BAD = {
    "missing": (lambda file: None, [], "checkpoint: expected a file, got 'model.pth'"),
    "folder": (lambda file: file.mkdir(), [], "checkpoint: expected a file, got 'model.pth'"),
    "empty": (lambda file: file.touch(), [], "checkpoint: not a readable file of torch.save"),
    "archive": (zipped, [], "an archive without data.pkl"),
    "other": (lambda file: put(file, {"encoder": {}}), [], "expected the keys encoder, decoder"),
    "call": (lambda file: put(file, whole() | {"opt": Malicious()}), [], "nothing was executed"),
    "size": (lambda file: put(file, whole(rnn_size=6)), [], "does not fit the options of the file"),
    "epochs": (lambda file: put(file, whole(niter=0)), [], "training.steps: expected at least 1, got 0"),
    "skips": (lambda file: put(file, whole(n_past=1)), ["--skips", "paper"], "needs a model.context of at least 2"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_one_line_and_leave_nothing(kind, capsys):
    write, words, message = BAD[kind]
    write(Path("model.pth"))
    before = os.listdir()
    assert main(["import", "model.pth", *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1 and not printed.out
    assert os.listdir() == before


def test_a_cut_off_file_is_said(capsys):
    content = written(whole()).getvalue()
    for n in (100, len(content) // 2, len(content) - 10):
        Path("model.pth").write_bytes(content[:n])
        assert main(["import", "model.pth"]) == 2
        assert "checkpoint: not a readable file" in capsys.readouterr().err
    assert os.listdir() == ["model.pth"]


def test_what_cannot_be_written_is_taken_away(monkeypatch):
    put("model.pth", whole())

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dynarium.recipes.svg_import.save_weights", full)
    assert main(["import", "model.pth"]) == 1
    assert os.listdir("runs") == []
