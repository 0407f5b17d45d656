"""Configurations: there and back, overlays, dotted overrides, and what is said of a mistake."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dynarium import config
from dynarium.errors import UserError

ModelT = TypeVar("ModelT")


@dataclass(frozen=True, kw_only=True)
class Fixed:
    value: float


@dataclass(frozen=True, kw_only=True)
class Ramp:
    start: float = 0.0
    until: int


@dataclass(frozen=True, kw_only=True)
class Model:
    state: int = 4
    widths: tuple[int, ...] = (8, 8)
    frame: tuple[int, float] = (1, 0.5)
    kind: Literal["elbo", "beta"] = "elbo"
    weight: Fixed | Ramp = field(default_factory=lambda: Fixed(value=1.0))


@dataclass(frozen=True, kw_only=True)
class Training:
    steps: int = 100
    rate: float = 1e-3
    mixed: bool = False
    note: str | None = None
    folder: Path = Path("runs")
    stages: tuple[Fixed | Ramp, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Whole(Generic[ModelT]):
    name: str
    model: ModelT
    training: Training = field(default_factory=Training)
    tasks: tuple[Any, ...] = ()
    extra: dict[str, float] = field(default_factory=dict)
    derived: int = field(init=False, default=3)


WHOLE = Whole(
    name="demo",
    model=Model(weight=Ramp(until=7)),
    training=Training(stages=(Fixed(value=0.5), Ramp(until=2)), note="x"),
    tasks=(Fixed(value=2.0), Model(state=9)),
    extra={"a": 1.0},
)

finite = st.floats(allow_nan=False, allow_infinity=False)
weights = st.builds(Fixed, value=finite) | st.builds(Ramp, start=finite, until=st.integers())
models = st.builds(
    Model,
    state=st.integers(),
    widths=st.lists(st.integers(), max_size=3).map(tuple),
    frame=st.tuples(st.integers(), finite),
    kind=st.sampled_from(["elbo", "beta"]),
    weight=weights,
)
trainings = st.builds(
    Training,
    steps=st.integers(),
    rate=finite,
    mixed=st.booleans(),
    note=st.none() | st.text(),
    folder=st.sampled_from([Path("runs"), Path("/a/b")]),
    stages=st.lists(weights, max_size=2).map(tuple),
)
wholes = st.builds(
    Whole,
    name=st.text(),
    model=models | weights,
    training=trainings,
    tasks=st.lists(models | weights, max_size=2).map(tuple),
    extra=st.dictionaries(st.sampled_from(["a", "b"]), finite),
)


def refusal(function, *arguments, **named):
    """Return the one line with which a call is refused."""
    with pytest.raises(UserError) as caught:
        function(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(wholes)
def test_any_configuration_survives_yaml(whole):
    text = yaml.safe_dump(config.to_dict(whole), sort_keys=False)
    assert config.from_dict(yaml.safe_load(text)) == whole


def test_a_saved_file_alone_recreates_it(tmp_path):
    config.save(WHOLE, tmp_path / "config.yaml")
    assert config.from_dict(config.read_yaml(tmp_path / "config.yaml")) == WHOLE
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_only_open_fields_carry_a_class():
    values = config.to_dict(WHOLE)
    assert values["class"].endswith(":Whole")
    assert values["model"]["class"].endswith(":Model")
    assert values["tasks"][0]["class"].endswith(":Fixed")
    assert "class" not in values["training"]
    assert "derived" not in values


@pytest.mark.parametrize(("written", "meant"), [("1e-3", 1e-3), ("2", 2.0), (2, 2.0), (0.5, 0.5)])
def test_numbers_as_yaml_reads_them(written, meant):
    rate = config.from_dict({"rate": written}, Training).rate
    assert rate == meant
    assert type(rate) is float


def test_an_integer_written_with_an_exponent():
    assert config.from_dict({"steps": "1e3"}, Training).steps == 1000
    assert config.from_dict({"steps": 1e3}, Training).steps == 1000
    assert type(config.from_dict({"steps": 1e3}, Training).steps) is int
    assert "steps" in refusal(config.from_dict, {"steps": 1.5}, Training)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stepz": 3}, "config.stepz: unknown option (did you mean 'steps'?)"),
        ({"steps": "many"}, "config.steps: expected int, got 'many'"),
        ({"steps": True}, "config.steps: expected int, got True"),
        ({"steps": None}, "config.steps: expected int, got None"),
        ({"mixed": 1}, "config.mixed: expected bool, got 1"),
        ({"rate": [1]}, "config.rate: expected float, got [1]"),
        ({"note": 3}, "config.note: expected str or nothing, got 3"),
        ({"stages": 3}, "config.stages: expected a list, got 3"),
        ({"stages": "ab"}, "config.stages: expected a list, got 'ab'"),
        ({"folder": 3}, "config.folder: expected Path, got 3"),
        ([1], "config: expected a mapping of Training options, got [1]"),
    ],
)
def test_what_is_said_of_a_mistake(values, message):
    assert refusal(config.from_dict, values, Training).startswith(message)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frame": [1]}, "config.frame: expected 2 values, got 1"),
        ({"widths": [1, "x"]}, "config.widths[1]: expected int, got 'x'"),
        ({"kind": "gamma"}, "config.kind: expected one of 'elbo', 'beta', got 'gamma'"),
        ({"weight": {"class": "nowhere_at_all:X"}}, "config.weight.class: cannot import 'nowhere_at_all:X'"),
        ({"weight": {"class": "pathlib:Path"}}, "config.weight.class: 'pathlib:Path' is not a configuration class"),
        ({"weight": {"class": f"{__name__}:Training"}}, "config.weight.class: expected Fixed or Ramp, got"),
        ({"weight": {"class": 3}}, "config.weight.class: cannot import 3"),
    ],
)
def test_what_is_said_of_a_mistake_in_a_model(values, message):
    assert refusal(config.from_dict, values, Model).startswith(message)


def test_a_missing_field_is_named():
    message = refusal(config.from_dict, {"start": 1.0}, Ramp)
    assert message.startswith("config: ") and "until" in message


def test_a_refusal_of_the_class_itself_names_the_field():
    assert "where.weight" in refusal(config.from_dict, {"weight": {"valve": 1.0}}, Model, where="where")


def test_differences_are_named_by_their_paths_and_what_one_side_lacks_is_left_out():
    made = {"a": 1, "b": {"class": "m:X", "c": 2}, "d": [{"e": 1}, {"e": 2}], "f": [1], "g": None, "old": 0}
    assert config.differences(made, made) == []
    assert config.differences(made, {**made, "new": 1}) == []
    asked = {"a": 2, "b": {"class": "m:Y", "c": 3}, "d": [{"e": 1}, {"e": 3}], "f": [1, 2], "g": {"h": 1}}
    found = [("a", 1, 2), ("b", "X", "Y"), ("d.1.e", 2, 3), ("f", [1], [1, 2]), ("g", None, "a section")]
    assert config.differences(made, asked) == found


def test_overlay_is_deep_and_later_wins():
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert config.overlay(base, {"a": {"b": 9}, "e": 4}) == {"a": {"b": 9, "c": 2}, "d": 3, "e": 4}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}
    assert config.overlay(base, {"a": 5})["a"] == 5


def test_overlay_replaces_a_section_of_another_class():
    base = {"weight": {"class": "m:Fixed", "value": 1.0}}
    assert config.overlay(base, {"weight": {"value": 2.0}}) == {"weight": {"class": "m:Fixed", "value": 2.0}}
    other = {"weight": {"class": "m:Ramp", "until": 3}}
    assert config.overlay(base, other) == other


def test_resolve_lays_files_and_then_words_over_the_default(tmp_path):
    (tmp_path / "a.yaml").write_text("training: {steps: 5, rate: 1e-2}\nmodel: {state: 6}\n")
    (tmp_path / "b.yaml").write_text("training: {steps: 7}\n")
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    resolved = config.resolve(WHOLE, files, ["--model.state", "8", "--training.mixed", "True"])
    assert (resolved.training.steps, resolved.training.rate, resolved.training.mixed) == (7, 1e-2, True)
    assert resolved.model == Model(state=8, weight=Ramp(until=7))
    assert resolved.tasks == WHOLE.tasks
    assert config.resolve(WHOLE) == WHOLE


def test_resolve_reaches_into_unions_tuples_and_tasks():
    words = "--model.weight.until 3 --model.widths 1 2 3 --tasks.1.state 2 --training.note None --training.rate=1e-4"
    resolved = config.resolve(WHOLE, arguments=words.split())
    assert resolved.model == Model(widths=(1, 2, 3), weight=Ramp(until=3))
    assert resolved.tasks == (Fixed(value=2.0), Model(state=2))
    assert (resolved.training.note, resolved.training.rate) == (None, 1e-4)
    assert resolved.extra == WHOLE.extra


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--training.step 3", "--training.step: unknown option (did you mean '--training.steps'?)"),
        ("--modle.state=3", "--modle.state: unknown option (did you mean '--model.state'?)"),
        ("--training.steps many", "--training.steps"),
        ("--training.steps", "--training.steps"),
        ("--model.kind gamma", "--model.kind"),
        ("--training.mixed maybe", "--training.mixed"),
        ("stray", "stray"),
    ],
)
def test_a_wrong_word_is_one_line_that_names_it(words, message, capsys):
    assert message in refusal(config.resolve, WHOLE, arguments=words.split())
    assert capsys.readouterr() == ("", "")


@dataclass(frozen=True, kw_only=True)
class Search:
    samples: int = 10


@dataclass(frozen=True, kw_only=True)
class Descent:
    rate: float = 0.1


@dataclass(frozen=True, kw_only=True)
class Question:
    planner: Search | Descent | Ramp = field(default_factory=lambda: Search(samples=7))
    steps: int = 3


@dataclass(frozen=True, kw_only=True)
class Chosen:
    q: Question


def asked(words):
    return config.parse_arguments(Chosen, words, "dynarium", default=Chosen(q=Question()))


@pytest.mark.parametrize("words", [["--q.planner.class", "descent"], ["--q.planner.class=Descent"]])
def test_a_word_chooses_among_the_classes_of_an_option(words):
    whole = asked([*words, "--q.planner.rate", "0.5", "--q.steps", "4"])
    assert whole.q == Question(planner=Descent(rate=0.5), steps=4)
    assert asked(["--q.planner.class", "ramp", "--q.planner.until", "5"]).q.planner == Ramp(until=5)
    same = asked(["--q.planner.class", "search"])
    assert same.q.planner == Search(samples=7)  # already of that class: its options stay


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--q.planner.class", "ascent"], "--q.planner.class: expected search, descent, ramp, got 'ascent'"),
        (["--q.planner.class"], "--q.planner.class: expected search, descent, ramp, got 'nothing'"),
        (["--q.planer.class", "search"], "--q.planer.class: unknown option (did you mean 'planner'?)"),
        (["--q.steps.class", "search"], "--q.steps.class: expected module:Name, got 'search'"),
        (["--q.planner.class", "ramp"], "missing --q.planner.until INT"),
        (["--q.planner.class", "ramp", "--q.planner.until", "x"], "--q.planner.until: invalid literal for int()"),
    ],
)
def test_a_class_that_is_not_offered(words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        asked(words)


@pytest.mark.parametrize("text", [None, "a: [", "- 1\n", "", "\x00"])
def test_a_bad_file_is_one_line_that_names_it(tmp_path, text):
    file = tmp_path / "a.yaml"
    if text is not None:
        file.write_text(text)
    assert refusal(config.read_yaml, file).startswith(f"--config {file}: ")


def test_a_bad_key_in_a_file_names_its_path(tmp_path):
    (tmp_path / "a.yaml").write_text("training: {step: 5}\n")
    assert re.search(r"training\.step\b.*'steps'", refusal(config.resolve, WHOLE, [tmp_path / "a.yaml"]))


def test_help_still_prints_and_exits_with_0(capsys):
    with pytest.raises(SystemExit) as stop:
        config.resolve(WHOLE, arguments=["--help"], prog="dynarium train")
    assert not stop.value.code
    printed = capsys.readouterr()
    assert "--model.state" in printed.out and "dynarium train" in printed.out
    assert printed.err == ""
