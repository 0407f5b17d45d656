"""Generation: the same bytes for any number of workers, backend and shard size; resumable; never half-written."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dynarium.data import Dataset, make_dataset, verify
from dynarium.data.generate import draw, make_block, seeded
from dynarium.data.reader import Reader
from dynarium.errors import RunError, UserError
from dynarium.systems.dots import MovingDots
from dynarium.systems.multitask import MultiTask
from dynarium.systems.noise import Noise
from worlds import Drift

SIZES = {"train": 600, "val": 10, "test": 300}


def content(directory):
    dataset = Dataset(directory)
    return {split: dataset.read(split, range(n)) for split, n in dataset.schema.splits.items()}


def assert_same(a, b):
    for split in a:
        for name in a[split]:
            assert np.array_equal(a[split][name], b[split][name]), (split, name)


def test_content_and_schema(tmp_path):
    dataset = make_dataset(Drift(), tmp_path / "a", sizes=SIZES, seed=3)
    assert dataset.schema.splits == SIZES
    assert dataset.shapes == {"video": (6, 1, 8, 8), "state": (6, 2), "parameter": (1,)}
    assert dataset.schema.fields["state"].names == ("x [px]", "v [px]")
    assert dataset.schema.generator["class"] == "worlds:Drift"
    batch = dataset.batch("train", range(600))
    lit = batch.video[:, :, 0].float().argmax(-1).amax(-1)
    assert torch.equal(lit, batch.state[..., 0].long())  # frame t shows state t
    video = dataset.schema.fields["video"].statistics
    assert video["max"] == [255.0]
    assert video["mean"][0] == pytest.approx(255 / 64, abs=1e-9)
    assert dataset.schema.fields["state"].statistics["mean"][1] == pytest.approx(batch.state[..., 1].mean().item())
    assert not (tmp_path / "a.partial").exists()
    assert verify(tmp_path / "a") == []


def test_floating_point_frames_are_stored_as_bytes_and_read_back_in_their_units(tmp_path):
    world = MovingDots(steps=3, noise=Noise(fixed=0.5, changing=1.0))
    dataset = make_dataset(world, tmp_path / "a", sizes={"train": 20, "test": 5})
    video = draw(world, 256, 3, seeded(0, "train", 0))["video"][:20]
    stored = dataset.read("train", range(20))["video"]
    assert stored.dtype == np.uint8 and dataset.schema.fields["video"].gain == world.gain
    assert 200 < stored.max() < 255  # the brightest byte is for a full dot under full noise
    read = dataset.batch("train", range(20)).video
    assert read is not None and read.dtype == torch.float32
    torch.testing.assert_close(read, video, rtol=0, atol=0.501 / (255 * world.gain))
    held = Reader(dataset, "train", in_memory=True).read(np.arange(20), np.zeros(20, dtype=np.int64)).video
    assert held is not None and torch.equal(held, read)
    assert Dataset(tmp_path / "a").schema.fields["state"].gain is None


def test_a_pixel_without_a_byte_is_an_error():
    class Bright(MovingDots):
        gain = 12.0

    with pytest.raises(RunError, match="gain 12: a frame has a pixel at 28"):
        make_block(Bright(), 0, "train", 0, 17)


def test_bytes_do_not_depend_on_workers_or_shards(tmp_path):
    one = make_dataset(Drift(), tmp_path / "one", sizes=SIZES, seed=3)
    two = make_dataset(Drift(), tmp_path / "two", sizes=SIZES, seed=3, workers=2)
    small = make_dataset(Drift(), tmp_path / "small", sizes=SIZES, seed=3, shard_size=256)
    assert len(small.schema.shards["train"]) == 3
    assert_same(content(one.directory), content(two.directory))
    assert_same(content(one.directory), content(small.directory))
    assert one.schema.content_hash == two.schema.content_hash == small.schema.content_hash
    other = make_dataset(Drift(), tmp_path / "other", sizes=SIZES, seed=4)
    assert other.schema.content_hash != one.schema.content_hash


def test_a_sequence_depends_on_its_index_only(tmp_path):
    long = make_dataset(Drift(), tmp_path / "long", sizes={"train": 700}, seed=1)
    short = make_dataset(Drift(), tmp_path / "short", sizes={"train": 300}, seed=1)
    assert np.array_equal(long.read("train", range(300))["video"], short.read("train", range(300))["video"])
    block = make_block(Drift(), 1, "train", 1, 6)
    assert np.array_equal(long.read("train", range(256, 512))["state"], block["state"])


CLUSTER = """
import sys
sys.path.insert(0, {tests!r})
from worlds import Drift
from dynarium.data import make_dataset
if __name__ == "__main__":
    print(make_dataset(Drift(), {out!r}, sizes={sizes}, seed=3, workers=2, backend="dask", shard_size=256).schema.content_hash)
"""


def test_a_dask_cluster_gives_the_same_bytes(tmp_path):
    script = tmp_path / "cluster.py"
    tests = str(Path(__file__).parent.parent)
    script.write_text(CLUSTER.format(tests=tests, out=str(tmp_path / "dask"), sizes=SIZES))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([tests, *sys.path])}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    here = make_dataset(Drift(), tmp_path / "here", sizes=SIZES, seed=3)
    assert done.stdout.split()[-1] == here.schema.content_hash


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from worlds import Drift
from dynarium.data import generate, make_dataset
from dynarium.systems.multitask import MultiTask
whole = generate.make_block
def slow(*arguments):
    time.sleep(0.4)
    return whole(*arguments)
generate.make_block = slow
print("ready", flush=True)
make_dataset({world}, {out!r}, sizes={{"train": 256 * 30}}, seed=3, shard_size=256)
"""


@pytest.mark.parametrize("world", [Drift(), MultiTask(worlds=(Drift(), Drift(speed=2.0), Drift(speed=0.5)))])
def test_a_killed_job_resumes(tmp_path, world):
    out, partial = tmp_path / "d", tmp_path / "d.partial"
    script = tmp_path / "job.py"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent.parent), world=world, out=str(out)))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    job = subprocess.Popen([sys.executable, str(script)], env=environment, stdout=subprocess.PIPE)
    limit = time.monotonic() + 60
    while len(list(partial.glob("train/shard-*.json"))) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    before = {p.name: p.stat().st_mtime_ns for p in partial.glob("train/*.json")}
    assert 2 <= len(before) < 30
    assert not out.exists()
    (partial / "train" / ".video-00029.npy.1.tmp").write_bytes(b"half a file")
    sizes = {"train": 256 * 30}
    with pytest.raises(UserError, match="interrupted job of other settings"):
        make_dataset(world, out, sizes=sizes, seed=4, shard_size=256)
    made = []
    resumed = make_dataset(world, out, sizes=sizes, seed=3, shard_size=256, progress=lambda done, _: made.append(done))
    whole = make_dataset(world, tmp_path / "whole", sizes=sizes, seed=3)
    assert resumed.schema.content_hash == whole.schema.content_hash
    assert verify(out) == []
    first = min(before)
    number = first.removeprefix("shard-").removesuffix(".json")
    assert (out / "train" / f"video-{number}.npy").stat().st_mtime_ns <= before[first]  # not made again


def test_refuses_to_overwrite(tmp_path):
    make_dataset(Drift(), tmp_path / "d", sizes={"train": 5}, seed=0)
    old = Dataset(tmp_path / "d").schema.content_hash
    with pytest.raises(UserError, match="exists already; --force replaces it"):
        make_dataset(Drift(), tmp_path / "d", sizes={"train": 5}, seed=1)
    assert Dataset(tmp_path / "d").schema.content_hash == old
    assert make_dataset(Drift(), tmp_path / "d", sizes={"train": 5}, seed=1, force=True).schema.content_hash != old
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="exists and is not a dataset"):
        make_dataset(Drift(), tmp_path / "mine", sizes={"train": 5}, force=True)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": {"train": -1}}, "sizes: expected at least one"),
        ({"sizes": {"training": 5}}, "splits: expected train, val, test, got 'training'"),
        ({"steps": 0}, "steps: expected at least 1"),
        ({"workers": 0}, "workers: expected at least 1"),
        ({"shard_size": 100}, "shard_size: expected a multiple of 256"),
    ],
)
def test_bad_options(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        make_dataset(Drift(), tmp_path / "d", **{"sizes": {"train": 5}} | options)
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_is_not_installed_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="--backend ray needs a package"):
        make_dataset(Drift(), tmp_path / "d", sizes={"train": 5}, backend="ray")
    assert list(tmp_path.iterdir()) == []
