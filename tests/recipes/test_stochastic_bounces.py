"""The study of priors: its cells, its claims on made-up numbers, one cell through the command, and what is refused."""

from pathlib import Path

import pytest

from dynarium.cli import main
from dynarium.recipes.stochastic_bounces import BEST, CRPS, KNOWS, StochasticBounces
from dynarium.recipes.study import Study, cells_of


def record(method, world, seed, psnr, crps):
    rows = [
        dict(
            zip(("method", "metric"), row, strict=True), condition={}, value=value, standard_error=0.01, baseline=False
        )
        for row, value in ((BEST, psnr), (CRPS, crps))
    ]
    for lag, auc in ((0, 0.5), (1, 0.9 if method == "lp" else 0.5)):
        row = {"method": KNOWS[0], "metric": KNOWS[1], "condition": {"lag": lag}, "standard_error": 0.01}
        rows.append(row | {"value": auc, "baseline": False})
    return {"condition": {"method": method, "world": world}, "seed": seed, "rows": rows}


def test_every_method_sees_the_same_world():
    study = StochasticBounces()
    assert isinstance(study, Study)
    cells = cells_of(study, (0, 1, 2))
    assert len(cells) == len({cell.file for cell in cells}) == 6 * 2 * 3
    for world in ("digits", "push"):
        found = [cell.experiment for cell in cells if cell.condition["world"] == world]
        assert len({str((x.world, x.data, x.tasks[0])) for x in found}) == 1
        assert len({str(x.model) for x in found}) == 6
    assert [dict(c) for c, _ in StochasticBounces(methods=("fp",), worlds=("push",)).conditions()] == [
        {"method": "fp", "world": "push"}
    ]


def test_claims_need_a_clear_difference():
    clear = [record(m, "digits", s, p + s / 50, c) for m, p, c in (("lp", 16, 0.1), ("fp", 15, 0.2)) for s in (0, 1, 2)]
    answers = StochasticBounces().claims(clear)
    told = {claim.statement.split(" (")[0]: claim.holds for claim in answers}
    assert told["digits: lp better than fp by best of N, PSNR"] is True
    assert told["digits: lp better than fp by CRPS"] is True, "lower is better"
    assert told["digits: fp better than deterministic by CRPS"] is None
    assert told["push: lp better than fp by CRPS"] is None
    assert told["digits: lp better than fp by how well the prior's width tells a bounce, AUC"] is True
    assert answers[-1].measured.startswith("0.9 against 0.5"), "where it is seen, a step later"
    unclear = [record("lp", "digits", s, 15 + s, 0.3) for s in (0, 1, 2)]
    unclear += [record("fp", "digits", s, 14.9 + s, 0.2) for s in (0, 1, 2)]
    first, _, worse, *_ = StochasticBounces().claims(unclear)
    assert first.holds is False, "within the noise of the seeds"
    assert worse.holds is False and "0.3 against 0.2" in worse.measured


def test_both_statistics_are_asked_about_and_told_apart():
    asked = {dict(c)["method"]: x.tasks for c, x in StochasticBounces(worlds=("digits",)).conditions()}
    assert [task.name for task in asked["lp"]] == ["forecast-video", "bounces", "forecast-video-batch"]
    assert [task.name for task in asked["flow"]] == ["forecast-video"]
    drifts = [record(m, "digits", 0, p, 0.1) for m, p in (("lp", 14.5), ("fp", 15.5))]
    for mine, value in zip(drifts, (16.0, 15.0), strict=True):
        again = {"method": BEST[0], "metric": BEST[1], "condition": {}, "standard_error": 0.01, "baseline": False}
        mine["rows"].append(again | {"value": value, "task": "forecast-video-batch"})
    told = {claim.statement.split(" (")[0]: claim.holds for claim in StochasticBounces().claims(drifts)}
    assert told["digits: lp better than fp by best of N, PSNR"] is False
    assert told["digits: lp better than fp by best of N, PSNR, statistics of the batch"] is True
    assert told["digits: lp better than fp by CRPS, statistics of the batch"] is None
    points = [p for p in StochasticBounces().points(drifts) if p["metric"] == BEST[1] and p["of"] == "lp"]
    assert [(p["condition"].get("statistics"), p["value"]) for p in points] == [(None, 14.5), ("batch", 16.0)]


def test_one_cell_through_the_command(capsys):
    words = ["reproduce", "stochastic-bounces", "--tier", "smoke", "--seeds", "0", "--methods", "deterministic"]
    assert main([*words, "--worlds", "push"]) == 0
    printed = capsys.readouterr()
    assert "1 trainings, 1 of them to run" in printed.err
    assert "black" in printed.out and "not run" in printed.out
    assert (Path("results/stochastic-bounces-smoke") / "psnr-push.svg").read_text().startswith("<svg")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--methods", "lpp"], "--methods: unknown 'lpp' (did you mean 'lp'?)"),
        (["--worlds", "rooms"], "--worlds: unknown 'rooms'; known: digits, push"),
    ],
)
def test_bad_input_is_one_line(words, message, capsys, tmp_path):
    assert main(["reproduce", "stochastic-bounces", *words]) == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
