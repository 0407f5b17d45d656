"""Trackers: what a run sends them, in TensorBoard's own files and in the words of wandb and trackio."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dynarium.errors import UserError
from dynarium.models.kvae import KVAEConfig
from dynarium.training.media import MediaCallback
from dynarium.training.trackers import make_tracker
from dynarium.types import SequenceBatch


@pytest.fixture
def shown():
    """A KVAE and a callback that shows three sequences of it."""
    torch.manual_seed(0)
    model = KVAEConfig(frame=(1, 8, 8), channels=(8, 8), hidden=6).build().eval()
    video = (torch.rand(3, 9, 1, 8, 8) > 0.7).to(torch.uint8) * 255
    return model, MediaCallback(SequenceBatch(video=video))


def test_tensorboard_holds_curves_images_and_videos(tmp_path, shown):
    model, callback = shown
    tracker = make_tracker("tensorboard", tmp_path, {})
    tracker.scalars({"train/loss": 2.5, "train/elbo": -1.0}, 7)
    callback(model, [tracker], 7)
    tracker.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0}).Reload()
    assert {"train/loss", "train/elbo"} == set(events.Tags()["scalars"])
    assert events.Scalars("train/loss")[0].value == 2.5
    images = set(events.Tags()["images"])
    films = {f"val_imputation/{name}/sequences" for name in ("observed", "smooth", "filter")}
    films |= {"val/orig/sequences", "val/recon/sequences"}
    assert images == films | {"val/orig/first", "val/recon/first", "val/mixture_weights"}
    film = events.Images("val/orig/sequences")[0]
    assert film.step == 7
    assert film.encoded_image_string[:6] == b"GIF89a"
    assert (film.width, film.height) == (3 * 8, 8)


def test_the_observed_film_hides_what_is_hidden(shown):
    model, callback = shown
    taken = {}

    class Recorder:
        def scalars(self, values, step): ...

        def image(self, name, image, step): ...

        def video(self, name, frames, step, fps=4):
            taken[name] = frames

        def close(self): ...

    callback(model, [Recorder()], 0)
    observed, truth = taken["val_imputation/observed/sequences"], taken["val/orig/sequences"]
    assert np.array_equal(observed[:4], truth[:4]) and np.array_equal(observed[7:], truth[7:])
    assert not observed[4:7].any() and truth[4:7].any()


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_wandb_and_trackio_are_spoken_to_in_their_words(name, tmp_path, monkeypatch, shown):
    logged, started = [], {}
    fake = types.ModuleType(name)
    fake.init = lambda **options: started.update(options)
    fake.log = lambda values, step: logged.append((step, values))

    def film(path, format):
        with Image.open(Path(path)) as opened:
            return format, opened.n_frames, opened.size

    fake.Image, fake.Video = (lambda data: ("image", data.shape)), film
    fake.finish = lambda: started.update(finished=True)
    monkeypatch.setitem(sys.modules, name, fake)
    tracker = make_tracker(name, tmp_path / "run-1", {"lr": 1})
    assert started["project"] == "dynarium" and started["name"] == "run-1" and started["config"] == {"lr": 1}
    tracker.scalars({"val/loss": 1.0}, 3)
    shown[1](shown[0], [tracker], 3)
    tracker.close()
    assert logged[0] == (3, {"val/loss": 1.0})
    video = next(values["val/orig/sequences"] for _, values in logged if "val/orig/sequences" in values)
    assert video == ("gif", 9, (24, 8))  # a file: from an array they encode with packages that may not be there
    assert started["finished"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"wandb needs a package: pip install 'dynarium\[wandb\]'"):
        make_tracker("wandb", tmp_path, {})
