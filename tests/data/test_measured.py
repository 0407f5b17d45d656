import numpy as np
import pytest
import scipy.io

from dynarium.cli import main
from dynarium.data import Dataset, import_measured
from dynarium.errors import UserError

RANDOM = np.random.default_rng(0)
U, Y = RANDOM.normal(size=(300, 2)), RANDOM.normal(size=(300, 1))


def stored(dataset):
    read = dataset.read("test", range(dataset.size("test")))
    return read["action"], read["observation"]


def same(dataset, u=U, y=Y):
    for found, expected in zip(stored(dataset), (u, y), strict=True):
        np.testing.assert_allclose(found.reshape(-1, found.shape[-1]), expected, rtol=1e-6)


def test_mat_with_channels_and_sampling_time(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"u": U, "y": Y, "Ts": 0.02, "comment": "a bench"})
    dataset = import_measured(tmp_path / "a.mat", tmp_path / "a")
    same(dataset)
    assert dataset.schema.dt == 0.02 and dataset.schema.splits == {"test": 1}
    assert dataset.schema.fields["action"].names == ("u1", "u2") and dataset.schema.fields["observation"].names == (
        "y",
    )


def test_mat_with_a_structure_and_rows_as_channels(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"data": {"u": U.T, "y": Y.T}})
    same(import_measured(tmp_path / "a.mat", tmp_path / "a"))


def test_mat_with_batches(tmp_path):
    u, y = RANDOM.normal(size=(2, 5, 40, 1))
    scipy.io.savemat(tmp_path / "a.mat", {"batch_u": u, "batch_y": y})
    found = stored(import_measured(tmp_path / "a.mat", tmp_path / "a"))
    np.testing.assert_allclose(found[0], u, rtol=1e-6)
    np.testing.assert_allclose(found[1], y, rtol=1e-6)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_numbered_columns(tmp_path, delimiter):
    rows = [delimiter.join(("t", "u2", "u1", "y", "place"))]
    rows += [
        delimiter.join([repr(0.1 * k), repr(float(b)), repr(float(a)), repr(float(c)), "lab"])
        for k, ((a, b), (c,)) in enumerate(zip(U, Y, strict=True))
    ]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    dataset = import_measured(tmp_path / "a.csv", tmp_path / "a")
    same(dataset)
    assert dataset.schema.dt == pytest.approx(0.1)


def test_named_signals_cut_into_sequences(tmp_path):
    np.savez(tmp_path / "a.npz", volt=U[:, 0], pump=U[:, 1], level=Y[:, 0])
    dataset = import_measured(
        tmp_path / "a.npz", tmp_path / "a", inputs=("volt", "pump"), outputs=("level",), steps=70, dt=4.0, split="train"
    )
    assert dataset.shapes == {"action": (70, 2), "observation": (70, 1)} and dataset.schema.splits == {"train": 4}
    np.testing.assert_allclose(dataset.read("train", [1])["action"][0], U[70:140], rtol=1e-6)
    assert dataset.schema.fields["action"].names == ("volt", "pump")


SIX_U, SIX_Y = RANDOM.normal(size=(2, 6, 40, 1))
"""Six experiments with one channel."""


def cells(arrays):
    value = np.empty((1, len(arrays)), object)
    for k, array in enumerate(arrays):
        value[0, k] = array
    return value


@pytest.mark.parametrize(
    ("lay", "layout"),
    [
        (lambda x: x[..., 0], "experiments"),
        (lambda x: x[..., 0].T, "experiments"),
        (lambda x: x.transpose(1, 2, 0), "channels"),
        (lambda x: x.transpose(1, 2, 0), "experiments"),
        (lambda x: x.transpose(0, 2, 1), "channels"),
        (cells, "channels"),
        (lambda x: cells(x.transpose(0, 2, 1)), "experiments"),
    ],
)
def test_several_experiments_with_one_channel(tmp_path, lay, layout):
    scipy.io.savemat(tmp_path / "a.mat", {"u": lay(SIX_U), "y": lay(SIX_Y)})
    words = [] if layout == "channels" else ["--layout", layout]
    assert main(["data", "import", str(tmp_path / "a.mat"), "--out", str(tmp_path / "a"), *words]) == 0
    for found, expected in zip(stored(Dataset(tmp_path / "a")), (SIX_U, SIX_Y), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_experiments_with_several_channels(tmp_path):
    u = RANDOM.normal(size=(40, 2, 6))
    np.savez(tmp_path / "a.npz", u=u, y=SIX_Y[..., 0])
    found = stored(import_measured(tmp_path / "a.npz", tmp_path / "a", layout="experiments"))
    np.testing.assert_allclose(found[0], u.transpose(2, 0, 1), rtol=1e-6)
    np.testing.assert_allclose(found[1], SIX_Y, rtol=1e-6)


def test_experiments_that_cannot_be_read(tmp_path):
    (tmp_path / "a.csv").write_text("u1,u2,y1,y2\n1,2,3,4\n")
    with pytest.raises(UserError, match="a.csv is a table, whose columns are channels"):
        import_measured(tmp_path / "a.csv", tmp_path / "a", layout="experiments")
    scipy.io.savemat(tmp_path / "a.mat", {"u": cells([*SIX_U[:2], SIX_U[2, :30]]), "y": cells(SIX_Y[:3])})
    with pytest.raises(UserError, match="'u': expected cells with equally many steps, got 40, 30"):
        import_measured(tmp_path / "a.mat", tmp_path / "a")
    scipy.io.savemat(tmp_path / "a.mat", {"u": cells(SIX_U), "y": cells(SIX_Y[:3])})
    with pytest.raises(UserError, match="equal length, got 6 sequences of u and 3 of y"):
        import_measured(tmp_path / "a.mat", tmp_path / "a")


def test_pieces_at_rest_are_left_out(tmp_path, capsys):
    u = U[:, 0].copy()
    u[:150] = 0
    np.savez(tmp_path / "a.npz", u=u, y=Y)
    dataset = import_measured(tmp_path / "a.npz", tmp_path / "a", steps=50)
    np.testing.assert_allclose(stored(dataset)[0].ravel(), u[150:], rtol=1e-6)
    said = capsys.readouterr().err
    assert "a.npz: left out 3 of 6 pieces of 50 steps" in said and said.count("\n") == 1
    assert "without 3 of 6 pieces" in dataset.schema.generator["source"]
    np.savez(tmp_path / "a.npz", u=0 * u, y=Y)
    with pytest.raises(UserError, match="'u' is constant over sequence 0"):
        import_measured(tmp_path / "a.npz", tmp_path / "b", steps=50)


TIMES = 0.1 * np.arange(300)
GAP = np.where(np.arange(300) > 7, TIMES + 0.2, TIMES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Ts": 0.0}, "a.npz: 'Ts': expected a positive sampling time, got 0"),
        ({"Ts": "fast"}, "a.npz: 'Ts': expected numbers"),
        ({"t": GAP}, "a.npz: 't': expected even steps, most are 0.1, got 0.3 after row 8"),
        ({"time": TIMES[::-1]}, "a.npz: 'time': expected even steps, most are -0.1, got -0.1 after row 1"),
    ],
)
def test_what_is_no_sampling_time(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", u=U, y=Y, **arrays)
    with pytest.raises(UserError, match=message):
        import_measured(tmp_path / "a.npz", tmp_path / "a")
    assert import_measured(tmp_path / "a.npz", tmp_path / "a", dt=0.5).schema.dt == 0.5


def test_a_gap_in_a_table_is_at_the_row_that_an_editor_shows(tmp_path):
    lines = ["t;u;y", "s;V;m", *(f"{t:.1f};{u:.3f};{y:.3f}" for t, u, y in zip(GAP, U[:, 0], Y[:, 0], strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="got 0.3 after row 10"):
        import_measured(tmp_path / "a.csv", tmp_path / "a")


def test_the_sampling_time_beside_the_inputs(tmp_path):
    both = {"est": {"u": U, "y": Y, "Ts": 0.2}, "val": {"u": U, "y": Y, "Ts": 0.3}}
    scipy.io.savemat(tmp_path / "a.mat", both)
    assert import_measured(tmp_path / "a.mat", tmp_path / "a", inputs=("val.u",)).schema.dt == 0.3


def broken(**changes):
    return {"u": U.copy(), "y": Y.copy()} | changes


HOLE = Y.copy()
HOLE[7] = np.nan
BAD = {
    "unequal": (broken(y=Y[:-3]), "equal length, got 300 steps of u1, u2 and 297 of y"),
    "constant": (broken(y=np.ones((300, 1))), "'y' is constant"),
    "nan": (broken(y=HOLE), "'y' holds NaN or infinity, first at step 7"),
    "missing": ({"u": U}, "no array named y"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_line(tmp_path, name, capsys):
    arrays, message = BAD[name]
    scipy.io.savemat(tmp_path / "a.mat", arrays)
    with pytest.raises(UserError, match=message):
        import_measured(tmp_path / "a.mat", tmp_path / "a")
    assert main(["data", "import", str(tmp_path / "a.mat"), "--out", str(tmp_path / "a")]) != 0
    error = capsys.readouterr().err
    assert message.split(",")[0] in error and error.count("\n") == 1


def test_unequal_columns_and_unknown_names(tmp_path):
    np.savez(tmp_path / "a.npz", u=U[:, 0], v=U[:20, 0], y=Y)
    with pytest.raises(UserError, match="equal length, got 300 steps of u and 20 of v"):
        import_measured(tmp_path / "a.npz", tmp_path / "a", inputs=("u", "v"))
    with pytest.raises(UserError, match="has no 'w'"):
        import_measured(tmp_path / "a.npz", tmp_path / "a", outputs=("w",))
    for names, message in (
        ({"inputs": ("y",)}, "expected different signals, got 'y' as both"),
        ({"inputs": ("u", "u")}, "expected every signal once, got 'u' 2 times"),
    ):
        with pytest.raises(UserError, match=message):
            import_measured(tmp_path / "a.npz", tmp_path / "a", **names)
    with pytest.raises(UserError, match="at most the 300 steps"):
        import_measured(tmp_path / "a.npz", tmp_path / "a", steps=301)


def test_damaged_and_foreign_files(tmp_path):
    (tmp_path / "a.mat").write_bytes(b"nothing")
    (tmp_path / "a.csv").write_text("u,y\n1,2\n3\n")
    for file, message in (
        ("a.mat", "damaged"),
        ("a.csv", "row 3 has 1 cells"),
        ("b.mat", "no such file"),
        ("a.xls", "expected one of"),
    ):
        with pytest.raises(UserError, match=message):
            import_measured(tmp_path / file, tmp_path / "out")


def test_command_line(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", u=U, y=Y)
    main(["data", "import", str(tmp_path / "a.npz"), "--out", str(tmp_path / "a"), "--steps", "100"])
    assert "dataset:" in capsys.readouterr().out
    assert Dataset(tmp_path / "a").shapes == {"action": (100, 2), "observation": (100, 1)}
