"""The noise study: its cells, its claims on made-up numbers, two cells through the command, and what is refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from dynarium.cli import main
from dynarium.recipes import RECIPES, STUDIES
from dynarium.recipes.jepa_slow_features import KINDS, JEPASlowFeatures
from dynarium.recipes.jepa_table import TABLE
from dynarium.recipes.study import Study, cells_of

SMALL = ["reproduce", "jepa-slow-features", "--tier", "smoke", "--noise", "fixed-uniform", "--seeds", "0"]


def test_the_cpu_tier_is_420_trainings_and_the_paper_tier_the_144():
    study = JEPASlowFeatures()
    assert isinstance(study, Study)
    cells = cells_of(study, (0, 1, 2))
    assert len(cells) == len({cell.file for cell in cells}) == 420
    assert len({cell.experiment.name for cell in cells}) == 140
    paper = list(JEPASlowFeatures(tier="paper").conditions())
    assert len([c for c, _ in paper if c["method"] != "reconstruction"]) == 144
    assert all(condition["method"] in (*TABLE, "reconstruction") for condition, _ in paper)


def test_a_study_can_be_narrowed_down():
    study = JEPASlowFeatures(methods=("idm",), noise=("fixed-uniform", "three-dots"), levels=(0.0, 1.5))
    found = [(c["noise"], c["level"]) for c, _ in study.conditions()]
    assert found == [("none", 0.0), ("fixed-uniform", 1.5), ("three-dots", 0.0)]
    worlds = [experiment.world for _, experiment in study.conditions()]
    assert worlds[1].noise.fixed == 1.5 and worlds[2].dots == 3


def record(method, noise, level, value, seed=0, dots=()):
    rows = [("rollout", "rmse_px", {}, value), ("constant", "rmse_px", {}, 10.0)]
    rows += [("rollout", "rmse_px_dot", {"dot": i + 1}, v) for i, v in enumerate(dots)]
    named = [dict(zip(("method", "metric", "condition", "value"), r, strict=True), standard_error=0.1) for r in rows]
    return {"condition": {"method": method, "noise": noise, "level": level}, "seed": seed, "rows": named}


def told(records):
    return {claim.statement.split(" (")[0]: claim.holds for claim in JEPASlowFeatures().claims(records)}


def test_claims_are_judged_by_the_worst_condition():
    numbers = {"changing": 1.0, "fixed": 9.0}
    jepas = [record(m, k, x, numbers[k.split("-")[0]]) for m in ("vicreg", "simclr") for k in KINDS for x in (1.0, 2.0)]
    built = [record("reconstruction", k, x, 4.0 if x > 1.5 else 2.0) for k in KINDS for x in (1.0, 2.0)]
    dots = [
        record("vicreg", "three-dots", 0.0, 4.0, dots=(5.0, 6.0, 1.0)),
        record("simclr", "three-dots", 0.0, 4.0, dots=(3, 4, 2)),
    ]
    answers = told([*jepas, *built, *dots])
    assert answers["JEPAs"] and answers["fixed noise of 1 and above captures JEPAs"]
    assert answers["reconstruction degrades above a level of 1.5"]
    assert answers["of three dots, vicreg keeps the still one"] is True
    assert answers["of three dots, simclr keeps the still one"] is False
    assert answers["inverse dynamics survives all noise"] is None  # not run
    broken = replace_value(jepas, "changing-structured", 2.0, 6.0)
    assert told(broken)["JEPAs"] is False
    assert told(replace_value(jepas, "fixed-uniform", 1.0, 7.0))["fixed noise of 1 and above captures JEPAs"] is False


def replace_value(records, noise, level, value):
    at = {"noise": noise, "level": level}
    return [
        record(**{**r["condition"], "value": value}) if at.items() <= r["condition"].items() else r for r in records
    ]


def test_two_cells_through_the_command_run_once(capsys):
    words = [*SMALL, "--methods", "vicreg", "random", "--levels", "1"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "vicreg" in printed.out and "constant" in printed.out and "(n=1)" in printed.out
    assert "2 trainings, 2 of them to run" in printed.err
    folder = Path("results/jepa-slow-features-smoke")
    assert (folder / "panels.svg").read_text().startswith("<svg")
    page = (folder / "study.md").read_text()
    assert "(panels.svg)" in page and "claims" in page and "(n=1)" in page
    found = json.loads((folder / "vicreg-fixed-uniform-1" / "seed-0.json").read_text())
    assert found["condition"] == {"method": "vicreg", "noise": "fixed-uniform", "level": 1.0}
    assert {row["metric"] for row in found["rows"]} <= set(JEPASlowFeatures().metrics)
    assert found["validation"]["effective_rank"] > 0
    before = sorted(os.listdir("runs"))
    assert len(before) == 2
    assert (
        main([*words, "--levels", "1", "1", "--seeds", "0", "0"]) == 0
    )  # nothing is trained again, nothing counts twice
    printed = capsys.readouterr()
    assert "2 trainings, 0 of them to run" in printed.err and "(n=1)" in printed.out
    assert sorted(os.listdir("runs")) == before
    assert main([*words, "--methods", "random"]) == 0
    assert (folder / "study.md").read_text() == page, "the page is of all there is"


def test_an_interrupted_training_goes_on_from_its_checkpoint(monkeypatch):
    from dynarium.recipes import study as module

    study = JEPASlowFeatures(methods=("idm",), noise=("fixed-uniform",), levels=(1.0,), tier="smoke")
    (cell,) = cells_of(study, (0,))
    module.train(cell.experiment, quiet=True)  # as if it had been stopped before it was asked
    resumed = []
    train = module.train
    monkeypatch.setattr(module, "train", lambda *a, **k: resumed.append(k["resume"]) or train(*a, **k))
    records = module.run_cells([cell], Path("out"), metrics=study.metrics, quiet=True)
    assert resumed[0] is not None and len(os.listdir("runs")) == 1
    assert records[0]["seed"] == 0


def test_a_failed_training_is_named_and_the_others_are_kept():
    from dynarium.errors import RunError
    from dynarium.recipes.study import run_cells

    study = JEPASlowFeatures(methods=("idm", "random"), noise=("fixed-uniform",), levels=(0.0,), tier="smoke")
    bad, good = cells_of(study, (0,))
    training = replace(
        bad.experiment.training, learning_rate=type(good.experiment.training.learning_rate)(value=float("inf"))
    )
    bad = replace(bad, experiment=replace(bad.experiment, training=replace(training, steps=3)))
    with pytest.raises(RunError, match="1 of 2 trainings failed, the others are kept; jepa-slow-features-smoke-idm"):
        run_cells([bad, good], Path("out"), metrics=study.metrics, quiet=True)
    assert (Path("out") / good.file).exists() and not (Path("out") / bad.file).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "vicrg"], "--methods: unknown 'vicrg' (did you mean 'vicreg'?)"),
        (["--noise", "loud"], "--noise: unknown 'loud'; tier cpu has changing-uniform"),
        (["--levels", "-1"], "--levels: expected numbers of at least 0, got -1"),
        (["--tier", "paper", "--levels", "0.6"], "--levels: nothing was published at 0.6; known: 0, 0.25, 0.5"),
        (["--tier", "paper", "--methods", "sigreg"], "--methods: unknown 'sigreg'"),
        (["--tier", "paper", "--methods", "idm", "--noise", "fixed-uniform", "--levels", "4"], "nothing to run"),
        (["--tier", "huge"], "--tier"),
        (["--level", "1"], "--level: unknown option"),
        (["--data", "moving-dots"], "--data: jepa-slow-features is a study"),
        (["--workers", "0"], "--workers: expected at least 1, got 0"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys, tmp_path):
    assert main(["reproduce", "jepa-slow-features", *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_name_is_taken_twice():
    assert not set(STUDIES) & set(RECIPES)
