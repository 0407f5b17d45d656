"""``dynarium data``, as a user runs it."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dynarium.cli import main
from dynarium.data import Dataset, write_arrays

SMALL = ["--train", "20", "--val", "6", "--test", "5", "--steps", "7"]


@pytest.fixture(autouse=True)
def made(_own_folder):
    assert main(["data", "make", "bouncing-ball", "--out", "box", *SMALL, "--seed", "4"]) == 0


def test_make_list_info(capsys):
    dataset = Dataset("box")
    assert dataset.schema.splits == {"train": 20, "val": 6, "test": 5}
    assert dataset.shapes["video"] == (7, 1, 32, 32)
    capsys.readouterr()
    assert main(["data", "info", "box"]) == 0
    printed = capsys.readouterr().out
    for word in ("train 20", "video", "(7, 1, 32, 32)", "uint8", "dynarium.systems.ball:BouncingBall", "seed 4"):
        assert word in printed, word
    assert f"content {dataset.schema.content_hash[:16]}\n" in printed.splitlines(keepends=True)[1]  # on one line
    assert main(["data", "list"]) == 0
    assert "bouncing-ball-hexagon" in capsys.readouterr().out


def test_make_refuses_and_forces(capsys):
    old = Dataset("box").schema.content_hash
    again = ["data", "make", "bouncing-ball", "--out", "box", *SMALL, "--seed", "5"]
    assert main(again) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert Dataset("box").schema.content_hash == old
    assert main([*again, "--force"]) == 0
    assert Dataset("box").schema.content_hash != old


def test_the_options_of_a_world(capsys):
    assert main(["data", "make", "bouncing-ball", "--out", "slow", *SMALL, "--world.speed", "1", "2"]) == 0
    state = Dataset("slow").read("train", range(20))["state"]
    assert np.hypot(state[..., 2], state[..., 3]).max() <= 2.0001
    assert Dataset("slow").schema.generator["speed"] == [1.0, 2.0]
    with pytest.raises(SystemExit) as stop:
        main(["data", "make", "bouncing-ball", "--help-world"])
    assert stop.value.code == 0
    assert "--world.speed" in capsys.readouterr().out


def test_show():
    assert main(["data", "show", "box", "--sequences", "3", "--out", "pictures"]) == 0
    with Image.open("pictures/train.png") as sheet:
        assert len(sheet.convert("L").getcolors()) > 1
    with Image.open("pictures/train.gif") as film:
        assert film.n_frames == 7
    assert main(["data", "show", "box", "--first", "20"]) == 2


def test_show_four_channels():
    digits = ["--train", "3", "--val", "0", "--test", "0", "--steps", "4", "--world.channels", "4"]
    assert main(["data", "make", "moving-digits", "--out", "digits", *digits]) == 0
    assert Dataset("digits").shapes["video"] == (4, 4, 64, 64)
    assert main(["data", "show", "digits"]) == 0
    with Image.open("digits/train.gif") as film:
        assert film.n_frames == 4


def test_show_nothing(capsys):
    assert main(["data", "show", "box", "--sequences", "0"]) == 2
    assert "--sequences: expected at least 1, got 0" in capsys.readouterr().err


def test_verify(capsys):
    assert main(["data", "verify", "box"]) == 0
    with open("box/train/video-00000.npy", "r+b") as stream:
        stream.truncate(500)
    assert main(["data", "verify", "box"]) == 1
    assert "video-00000.npy: truncated" in capsys.readouterr().out


def test_export_and_import():
    assert main(["data", "export", "box", "--out", "files", "--layout", "npz-images"]) == 0
    assert main(["data", "import", "files", "--out", "back"]) == 0
    a, b = (Dataset(d).read("test", range(5))["video"] for d in ("box", "back"))
    assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("number", "backend"), [(signal.SIGINT, "loky"), (signal.SIGTERM, "loky"), (signal.SIGINT, "dask")]
)
def test_interrupted_workers_end_with_one_line(number, backend):
    sizes = ["--train", "200000", "--steps", "2", "--shard-size", "256"]
    job = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "dynarium",
            "data",
            "make",
            "bouncing-ball",
            "--out",
            "big",
            *sizes,
            "--workers",
            "2",
            "--backend",
            backend,
        ],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert job.stderr is not None
    assert job.stderr.readline().startswith("made")
    os.killpg(job.pid, number)  # a terminal sends Ctrl-C to the workers as well
    rest = job.communicate(timeout=120)[1].splitlines()  # ends when no worker holds the pipe any more
    said = [line for line in rest if not line.startswith("made ")]
    assert said[-1] == "dynarium: interrupted"
    assert "KeyboardInterrupt" not in said
    assert len(said) == 1 or backend == "dask"  # whose workers may complain of their own end
    assert job.returncode == 130


def test_sets_of_several_dynamics(capsys):
    sizes = ["--train", "12", "--val", "6", "--test", "6", "--steps", "5"]
    assert main(["data", "make", "gravity", "--dynamics", "6", *sizes, "--export-layout", "original"]) == 0
    dataset = Dataset("datasets/gravity-6")
    assert len(set(dataset.batch("train", range(12)).task.tolist())) == 6
    with np.load("datasets/gravity-6-original/dataset_5/train.npz") as archive:
        assert archive["image"].shape == (2, 5, 32, 32)
        assert archive["label"].tolist() == [[5], [5]]
    assert main(["data", "show", "datasets/gravity-6"]) == 0
    words = ["data", "export", "datasets/gravity-6", "--out", "g6", "--layout", "original", "--alias", "grav_"]
    assert main(words) == 0
    assert os.path.exists("g6/grav_5/val.npz")
    assert main(["data", "import", "g6", "--out", "back"]) == 0
    assert np.array_equal(Dataset("back").read("val", range(6))["video"], dataset.read("val", range(6))["video"])
    capsys.readouterr()
    for words, message in (
        (["gravity", "--dynamics", "5"], "--dynamics: there are sets of 3, 6, 16 dynamics of gravity, got 5"),
        (["pong", "--dynamics", "3"], "--dynamics: there are no sets of several dynamics of pong"),
        (["gravitation", "--dynamics", "3"], "unknown world 'gravitation'"),
        (["bouncing-ball", "--out", "g6", "--export-layout", "original"], "g6: exists and is not a dataset"),
    ):
        assert main(["data", "make", *words]) == 2
        assert message in capsys.readouterr().err


def test_the_options_of_a_set_are_not_those_of_its_worlds(capsys):
    with pytest.raises(SystemExit):
        main(["data", "make", "gravity-3", "--help-world"])
    printed = capsys.readouterr().out
    assert "--world.side" in printed
    assert "fixed" not in printed


def test_an_export_in_the_way_is_seen_before_the_work(capsys):
    os.mkdir("later-original")
    assert main(["data", "make", "bouncing-ball", "--out", "later", *SMALL, "--export-layout", "original"]) == 2
    assert "later-original: exists already" in capsys.readouterr().err
    assert not os.path.exists("later")


def test_show_without_frames(capsys):
    random = np.random.default_rng(0)
    arrays = {"state": random.normal(size=(4, 9, 3)), "mode": random.integers(2, size=(4, 9))}
    write_arrays("lorenz", {"train": arrays}, names={"state": ("x [m]", "y", "z")})
    assert main(["data", "show", "lorenz", "--sequences", "2"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1] == "written: lorenz/train.png"
    with Image.open("lorenz/train.png") as sheet:
        assert sheet.width > 400
    write_arrays("bare", {"train": {"mask": np.ones((4, 9), dtype=bool)}})
    assert main(["data", "show", "bare"]) == 2
    assert "has nothing to show; it has mask" in capsys.readouterr().err
