"""The study of compute: its cells, the price of a model, its claims on made-up numbers, one cell through the command."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dynarium.cli import main
from dynarium.models.sequence_identifier import lstm_identifier
from dynarium.recipes import identify_compute
from dynarium.recipes.identify_compute import METHODS, STEPS, IdentifyCompute, compute, operations, published
from dynarium.recipes.study import Study, cells_of


def record(method, world, steps, error):
    row = {"method": "model", "metric": "rmse", "condition": {}, "value": error, "standard_error": 0.01, "n": 256}
    return {"condition": {"method": method, "world": world, "steps": steps}, "seed": 0, "rows": [row]}


def test_every_method_sees_the_same_systems_for_every_budget():
    study = IdentifyCompute()
    assert isinstance(study, Study)
    cells = cells_of(study, (0,))
    assert len(cells) == len({cell.file for cell in cells}) == 2 * len(METHODS) * len(STEPS)
    for world in ("lti", "wh"):
        found = [cell.experiment for cell in cells if cell.condition["world"] == world]
        assert len({str((x.world, x.data, x.tasks)) for x in found}) == 1
        assert all(x.before is None for x in found)
    for cell in cells:
        training = cell.experiment.training
        assert training.steps == training.learning_rate.until == cell.condition["steps"]


def test_the_price_is_that_of_the_products(monkeypatch):
    # Of an LSTM: four gates of inputs and state at every step, once forward and twice backward, and the maps around it.
    monkeypatch.setattr(identify_compute, "LENGTH", 60)
    monkeypatch.setattr(identify_compute, "operations", operations.__wrapped__)
    config = replace(lstm_identifier(), context=40, horizon=20)
    monkeypatch.setitem(METHODS, "lstm", lambda: config)
    d, layers = config.width, config.layers
    gates, around = layers * 4 * 2 * d * d, 3 * d + d
    wanted = 3 * 2 * 60 * (gates + around)
    state = torch.get_rng_state()
    assert identify_compute.operations("lstm") == pytest.approx(wanted, rel=0.01)
    assert torch.equal(torch.get_rng_state(), state)
    assert compute("lstm", 10) == pytest.approx(320 * wanted / 1e15, rel=0.01)


def test_claims_look_at_the_best_budget_within_a_tenth(monkeypatch):
    monkeypatch.setattr(identify_compute, "operations", lambda method: 1e10 if method == "published" else 1e9)
    study = IdentifyCompute()
    claims = study.claims([record("residual", "lti", 500, 0.02), record("residual", "lti", 1000, 0.001)])
    told = {claim.statement: claim for claim in claims}
    reached = told["lti: residual reaches the published 0.013 with 10% of its compute"]
    assert reached.holds is True and reached.measured.startswith("0.001 for")
    assert told["lti: lstm reaches the published 0.013 with 10% of its compute"].holds is None
    missed = study.claims([record("lstm", "wh", 500, 0.5)])[-2]
    assert missed.holds is False and "0.5 for" in missed.measured
    assert published("wh")[1] == pytest.approx(6 * published("lti")[1], rel=1e-2)
    points = study.points([record("lstm", "wh", 500, 0.5)])
    assert [p["of"] for p in points] == ["published", "lstm"]
    assert points[0]["value"] == 0.112 and points[0]["condition"]["petaflop"] > points[1]["condition"]["petaflop"]


def test_one_cell_through_the_command(capsys):
    words = ["reproduce", "identify-compute", "--tier", "smoke", "--seeds", "0", "--methods", "residual"]
    assert main([*words, "--worlds", "lti", "--steps", "2"]) == 0
    printed = capsys.readouterr()
    assert "1 trainings, 1 of them to run" in printed.err
    assert "output-error" in printed.out and "not run" in printed.out
    svg = (Path("results/identify-compute-smoke") / "rmse-lti.svg").read_text()
    assert "compute of the training, petaflop" in svg and len(re.findall("<circle", svg)) >= 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "lstn"], "--methods: unknown 'lstn' (did you mean 'lstm'?)"),
        (["--worlds", "duffing"], "--worlds: unknown 'duffing'; known: lti, wh"),
        (["--steps", "0"], "--steps: expected numbers of at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys, tmp_path):
    assert main(["reproduce", "identify-compute", *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
