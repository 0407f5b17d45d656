"""What the documentation says is run."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.io

import dynarium.recipes

DOCS = Path(__file__).parents[1] / "docs"


def python_of(page, start=0):
    """Return the Python blocks of a page from ``start`` on, joined: a page is read from top to bottom."""
    blocks = re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert blocks[start:]
    return compile("\n".join(blocks[start:]), page, "exec")


@pytest.mark.parametrize(("page", "start"), [("own-data.md", 0), ("../README.md", 1)])
def test_own_data(page, start, tmp_path, monkeypatch):
    experiment_of = dynarium.recipes.experiment_of

    def short(name, data):
        experiment = experiment_of(name, data)
        return replace(experiment, training=replace(experiment.training, steps=2, batch_size=8))

    monkeypatch.setattr(dynarium.recipes, "experiment_of", short)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("frames.npy", (rng.random((80, 12, 16, 16)) > 0.9).astype(np.uint8) * 255)
    names = {}
    exec(python_of(page, start), names)
    assert names["future"].shape == (1, 8, 20, 1, 16, 16)
    if start:
        return
    assert names["filled"].shape == (8, 12, 1, 16, 16)
    assert names["loss"].isfinite()


def test_inference():
    names = {}
    exec(python_of("inference.md"), names)
    assert names["paths"].shape == (10, 8, 50, 2)
    assert names["evidence"].isfinite().all()


def test_identification(tmp_path, monkeypatch):
    from dynarium.models.simulation_transformer import SimulationTransformerConfig

    model = SimulationTransformerConfig(layers=1, heads=1, width=8).build().eval()
    monkeypatch.setattr(dynarium.recipes, "load_run", lambda _: SimpleNamespace(model=model))
    monkeypatch.chdir(tmp_path)
    u, y = np.random.default_rng(0).normal(size=(2, 1000, 1))
    scipy.io.savemat("mine.mat", {"u": u, "y": y})
    names = {}
    exec(python_of("identify.md"), names)
    assert names["mean"].shape == (1, 100, 1)


@pytest.mark.parametrize("page", sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")))
def test_commands_in_the_docs_exist(page):
    from dynarium.cli import COMMANDS

    text = (DOCS / page).read_text(encoding="utf-8")
    for words in re.findall(r"^(?:.*`)?dynarium ((?:data )?[a-z]+)\b", text, re.MULTILINE):
        assert words in COMMANDS
