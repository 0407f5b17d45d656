"""What files of inputs and outputs hold, by name; what they cannot give is said when it is wanted."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from dynarium.data import holds_signals
from dynarium.data.signal_files import read_signals
from dynarium.errors import UserError

U, Y = np.random.default_rng(0).normal(size=(2, 30))
WORDS, OUTPUT = ("u", "input"), ("y", "output")


def table(*lines, name="a.csv"):
    Path(name).write_text("\n".join(lines) + "\n")
    return read_signals(Path(name))


def mat(**content):
    scipy.io.savemat("a.mat", content)
    return read_signals(Path("a.mat"))


def mat73(write):
    """Write a MATLAB file of version 7.3: HDF5, column-major, behind a header of 512 bytes."""
    with h5py.File("a.mat", "w", userblock_size=512) as file:
        write(file)
    with open("a.mat", "r+b") as stream:
        stream.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return read_signals(Path("a.mat"))


def cells(*arrays):
    value = np.empty((1, len(arrays)), object)
    for k, array in enumerate(arrays):
        value[0, k] = array
    return value


def test_a_garbled_cell_is_an_error_of_its_column_alone():
    found = table("u1,u2,y,place,remark", "1,2,3,lab,", "4,x5,6,lab,7", "", "7,8,9,hall,late")
    np.testing.assert_array_equal(found.take("u1"), [1, 4, 7])
    with pytest.raises(UserError, match=r"^a.csv: row 3, column 'u2': expected a number, got 'x5'$"):
        found.take("u2")
    with pytest.raises(UserError, match="row 5, column 'remark'"):
        found.take("remark")
    assert "place" not in found.arrays, "a column of words"
    assert found.rows == (2, 3, 5)


def test_columns_of_one_name():
    found = table("u,u,y", "1,2,3", "4,5,6")
    with pytest.raises(UserError, match="expected one column called 'u', got 2"):
        found.take("u")
    np.testing.assert_array_equal(found.take("y"), [3, 6])


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_and_a_row_of_units(separator):
    rows = [("t", "u", "y", "z"), ("s", "V", "m", "n.a."), ("0,1", "-1,5e-3", "2", "0.5"), ("0,2", "n.a.", "", "1.5")]
    found = table(*(separator.join(row) for row in rows))
    np.testing.assert_array_equal(found.take("t"), [0.1, 0.2])
    np.testing.assert_array_equal(found.take("y"), [2, np.nan])
    np.testing.assert_array_equal(found.take("z"), [0.5, 1.5])
    with pytest.raises(UserError, match="row 4, column 'u'"):
        found.take("u")
    assert found.rows == (3, 4)


def test_commas_that_separate_thousands_are_no_decimal_commas():
    with pytest.raises(UserError, match="row 3, column 'u': expected a number, got '1,000'"):
        table("u;y", "999.5;1", "1,000;2").take("u")


def test_an_empty_row_is_a_gap_unless_it_is_the_last():
    np.testing.assert_array_equal(table("u,y", "1,2", ",", "3,4", ",", "").take("u"), [1, np.nan, 3])


def test_structures_inside_structures():
    found = mat(bench={"run": {"u": U, "y": Y, "name": "one"}})
    assert found.known(WORDS, "inputs") == ["bench.run.u"] and found.chosen(["y"], "outputs") == ["bench.run.y"]
    np.testing.assert_array_equal(np.ravel(found.take("bench.run.u")), U)


def test_two_structures_with_the_same_fields():
    found = mat(est={"u": U, "y": Y}, val={"u": Y, "y": U})
    for ask in (lambda: found.known(WORDS, "inputs"), lambda: found.chosen(["u"], "inputs")):
        with pytest.raises(UserError, match=r"^a.mat: holds est.u and val.u; choose by inputs$"):
            ask()
    assert found.chosen(["val.u"], "inputs") == ["val.u"]
    assert found.known(OUTPUT, "outputs", beside="val.u") == ["val.y"]
    with pytest.raises(UserError, match=r"has no 'test.u'; it holds est.u, est.y, val.u, val.y"):
        found.chosen(["test.u"], "inputs")
    with pytest.raises(UserError, match=r"est.u1 and val.u_1"):
        mat(est={"u1": U, "u2": U}, val={"u_1": U}).numbered("u", "inputs")
    found = mat(u=U, U=U, val={"u": Y})
    assert found.known(WORDS, "inputs") == ["u"], "what stands outside structures, and to the letter"


def test_cell_arrays_and_arrays_of_structures_are_several_arrays():
    both = np.array([(U, Y, "one"), (Y, U, "two")], dtype=[("u", object), ("y", object), ("name", object)])
    found = mat(u=cells(U, Y), one=cells(U), names=cells("a", "b"), runs=both)
    assert list(found.arrays) == ["u", "one", "runs.u", "runs.y"]
    assert [cell.size for cell in found.take("u")] == [30, 30] and np.size(found.take("one")) == 30
    np.testing.assert_array_equal(np.ravel(found.take("runs.y")[1]), U)


def test_version_7_3():
    def write(file):
        group = file.create_group("data/run")
        group["u"], group["y"] = np.stack([U, Y]), Y[None]
        group["name"] = np.array([[79]], np.uint16)
        group["name"].attrs["MATLAB_class"] = np.bytes_("char")
        file["#refs#/a"], file["#refs#/b"] = U[None], Y[None]
        several = file.create_dataset("several", (2, 1), h5py.ref_dtype)
        several[0, 0], several[1, 0] = file["#refs#/a"].ref, file["#refs#/b"].ref

    found = mat73(write)
    assert list(found.arrays) == ["data.run.u", "data.run.y", "several"]
    np.testing.assert_array_equal(found.take("data.run.u"), np.stack([U, Y], 1))
    np.testing.assert_array_equal(found.take("several")[1], Y[:, None])


def test_the_case_of_a_suffix_and_numbered_names_of_an_archive():
    table("u,y", "1,2", name="A.CSV").take("u")
    np.savez("a.npz", u1=U, u_2=U, y=Y)
    np.savez("frames.npz", images=U, u1=U, y=Y)
    assert [holds_signals(Path(name)) for name in ("A.CSV", "a.npz", "frames.npz")] == [True, True, False]
