"""Files of series: what each format holds, told by values written by hand, and what is refused and how it is said."""

from __future__ import annotations

import gzip
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from carryover.data.examples import Series
from carryover.data.formats.series.parts import interpolate, label_of, without_missing_end
from carryover.data.formats.series.reading import read_series, series_format
from carryover.data.series_scaler import SeriesScaler
from carryover.errors import BadData, InputMissing, UsageError

DATA = Path(os.environ.get("CARRYOVER_TEST_DATA", "/nowhere"))
Found = list[tuple[list[list[float]], tuple[str, ...] | None, int]]


def write(path: Path, content: str) -> Path:
    path.write_text(content, encoding="utf-8")
    return path


def found(path: Path, **options: Any) -> Found:
    result = read_series(path, **options)
    return [(one.input.values.tolist(), one.gold, one.source.line) for one in result.examples]


def refused(path: Path, **options: Any) -> str:
    with pytest.raises(BadData) as raised:
        read_series(path, **options)
    return str(raised.value).replace(str(path), "FILE")


TWO: Found = [([[0.5], [-1.0], [2.0]], ("1",), 1), ([[3.0], [4.0], [0.25]], ("2",), 2)]


@pytest.mark.parametrize("separator", ["\t", ",", " ", "   "])
def test_ucr_lines_are_a_class_and_values_whatever_parts_them(tmp_path: Path, separator: str) -> None:
    rows = [["1.0000000e+00", "0.5", "-1", "2e0"], ["2", "3", "4", ".25"]]
    path = write(tmp_path / "x.txt", "".join(separator.join(row) + "\n" for row in rows))
    assert series_format(path) == "ucr"
    assert found(path) == TWO


def test_ucr_series_of_unequal_length_end_where_values_are_missing(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "x.tsv", "a\t1\t2\tNaN\tNaN\n\nb\t3\n")
    assert found(path, format="ucr") == [([[1.0], [2.0]], ("a",), 1), ([[3.0]], ("b",), 3)]
    assert "1 series end before the last step" in capsys.readouterr().err


TS = """# measured by hand
@problemName two
@dimensions 2
@classLabel true run rest
@data
1,2,3:4,5,6:run

7,8:9,10.5:rest
"""


def test_ts_channels_stand_beside_each_other(tmp_path: Path) -> None:
    assert found(write(tmp_path / "x.ts", TS)) == [
        ([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], ("run",), 6),
        ([[7.0, 9.0], [8.0, 10.5]], ("rest",), 8),
    ]


def test_ts_without_labels_is_read_where_none_are_required(tmp_path: Path) -> None:
    path = write(tmp_path / "x.ts", "@classLabel false\n@data\n1,2\n")
    assert found(path, require_labels=False) == [([[1.0], [2.0]], None, 3)]
    assert refused(path) == "FILE:3: the series has no label; give one, or remove the series"


LONG = "series,time,x,y,label\nb,0,1,10,up\na,0,2,20,down\nb,1,3,30,up\na,5,4,40,\n"


def test_long_tables_hold_a_step_a_row_and_series_may_alternate(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", LONG)
    assert series_format(path) == "series-long"
    assert found(path) == [([[1.0, 10.0], [3.0, 30.0]], ("up",), 2), ([[2.0, 20.0], [4.0, 40.0]], ("down",), 3)]


def test_long_table_without_a_series_column_is_one_series(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "Month,n\n1749-01,58\n1749-02,62.5\n")
    assert found(path, time_column="Month", require_labels=False) == [([[58.0], [62.5]], None, 2)]
    dated = write(tmp_path / "y.csv", "timestamp,value\n2014-07-01 00:00:00,1\n2014-07-01 00:30:00,2\n")
    assert found(dated, require_labels=False) == [([[1.0], [2.0]], None, 2)]


def test_wide_tables_hold_a_series_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "t1,label,t2,t3\n0.5,1,-1,2\n3,2,4,0.25\n")
    assert series_format(path) == "series-wide"
    assert found(path) == [(values, label, line + 1) for values, label, line in TWO]
    channels = write(tmp_path / "y.csv", "x:0,x:1,y:0,y:1,kind\n1,2,3,4,a\n5,,7,,b\n")
    assert found(channels, label_column="kind") == [([[1.0, 3.0], [2.0, 4.0]], ("a",), 2), ([[5.0, 7.0]], ("b",), 3)]
    bare = write(tmp_path / "z.csv", "0.5,-1,2,1\n3,4,0.25,2\n")
    assert found(bare, label_column=3) == TWO


def test_arrays_hold_values_lengths_and_labels(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.savez_compressed(tmp_path / "x.npz", values=values, lengths=[3, 2], labels=["up", "down"])
    assert found(tmp_path / "x.npz") == [
        ([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]], ("up",), 1),
        ([[6.0, 7.0], [8.0, 9.0]], ("down",), 2),
    ]
    np.save(tmp_path / "y.npy", np.array([[1, 2], [3, 4]]))
    assert found(tmp_path / "y.npy", require_labels=False) == [([[1.0], [2.0]], None, 1), ([[3.0], [4.0]], None, 2)]
    np.save(tmp_path / "z.npy", np.array([1.5, np.nan, 2.5]))
    assert found(tmp_path / "z.npy", require_labels=False, missing="interpolate") == [([[1.5], [2.0], [2.5]], None, 1)]
    np.savez(tmp_path / "n.npz", values=[[1.0, 2.0]], labels=np.array([3.0]))
    assert found(tmp_path / "n.npz")[0][1] == ("3",)


def test_gaps_are_refused_or_filled_on_the_line_between_neighbours_and_told(tmp_path: Path, capsys: Any) -> None:
    path = write(tmp_path / "x.ts", "@classLabel true\n@data\n?,1,?,?,4,?:0,0,0,0,0,0:a\n")
    assert refused(path) == (
        "FILE:3: the value of step 1 of channel 1 and 3 more is missing; fill it in, remove the series, or give --missing "
        "interpolate"
    )
    assert [row[0] for row in found(path, missing="interpolate")[0][0]] == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    assert "4 missing values of 1 series were filled by linear interpolation" in capsys.readouterr().err


def test_a_channel_without_any_value_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.ts", "@classLabel true\n@data\n?,?:0,0:a\n")
    assert refused(path, missing="interpolate") == (
        "FILE:3: channel 1 has no value at all; remove the series or the channel"
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "1 2 3\n1 2 x\n", "FILE:2: value 2 is 'x', not a number; write a number with a decimal point"),
        ("x.txt", "1 2 3\n1 1_0 3\n", "FILE:2: value 1 is '1_0', not a number"),
        ("x.txt", "1 2 3\n1 inf 3\n", "FILE:2: value 1 is 'inf', which is not finite"),
        ("x.txt", "1 2 3\n1\n", "FILE:2: a single cell; write the class, then the values"),
        ("x.txt", "1 2 3\n1 NaN NaN\n", "FILE:2: the series has no values; remove it"),
        ("x.ts", "@data\n1,2:3\n", "FILE:2: channel 2 has 1 values, channel 1 has 2"),
        ("x.ts", "@classLabel true a\n@data\n1,2:b\n", "FILE:3: the class 'b' is not listed in @classLabel; use one of a"),
        ("x.ts", "@dimensions 2\n@data\n1,2\n", "FILE:3: 1 channels where the header says 2"),
        ("x.ts", "@seriesLength 3\n@data\n1,2\n", "FILE:3: 2 steps where @seriesLength says 3"),
        ("x.ts", "@timeStamps true\n@data\n", "FILE:1: time stamps with the values are not supported"),
        ("x.ts", "@univariate maybe\n@data\n", "FILE:1: @univariate is 'maybe', neither true nor false"),
        ("x.ts", "@classLabel true\n@data\n1,2:a\n1,2:1,2:a\n", "FILE:4: 2 channels where the series of line 3 has 1"),
        ("x.ts", "1,2:a\n", "FILE:1: a line before @data does not begin with @"),
        ("x.ts", "@classLabel true\n", "FILE: no line @data"),
        ("x.csv", "series,x,label\na,1,u\na,2,v\n", "FILE:3: series 'a' has the label 'v' here and 'u' in line 2"),
        ("x.csv", "series,time,x,label\na,1,1,u\na,1,2,u\n", "FILE:3: time '1' repeats that of line 2; sort the rows"),
        ("x.csv", "series,time,x,label\na,2,1,u\na,1,2,u\n", "FILE:3: time '1' comes before '2' of line 2"),
        ("x.csv", "series,time,x,label\na,1,1,u\na,2024-01-01,2,u\n", "FILE:3: time '2024-01-01' is a date, '1' of"),
        ("x.csv", "series,time,x,label\na,soon,1,u\n", "FILE:2: column 'time' is 'soon', neither a number nor a date"),
        ("x.csv", "series,x,label\n,1,u\n", "FILE:2: column 'series' is empty; say which series the row belongs to"),
        ("x.csv", "series,x,x,label\na,1,2,u\n", "FILE:1: the column 'x' occurs twice; rename one of them"),
    ],
)  # fmt: skip
def test_faults_name_file_line_and_repair(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    format = None if name != "x.csv" else "series-long"
    assert refused(path, format=format, require_labels="@classLabel" in content or name != "x.ts").startswith(message)


def test_wide_faults_count_columns_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", "a,label,b\n1,u,2\n1,u,x\n1,u\n")
    assert refused(path, format="series-wide").startswith("FILE:3: column 3 is 'x', not a number")
    result = read_series(path, format="series-wide", on_error="skip")
    assert [one.line for one in result.rejected] == [3, 4]
    assert (len(result.examples), result.rows) == (1, 3)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": [[1.0]]}, "FILE: an array 'X'; use one of values, lengths, labels Arrays are named"),
        ({"labels": ["a"]}, "FILE: no array 'values'"),
        ({"values": [[1.0], [2.0]], "labels": ["a"]}, "FILE: the array labels has shape [1] of <U1; give a string or"),
        ({"values": [[1.0]], "lengths": [2]}, "FILE: the length of series 1 is 2; give 1 to 1, the steps of values"),
        ({"values": [[1.0, 2.0]], "lengths": [1.0]}, "FILE: the array lengths has shape [1] of float64"),
        ({"values": [["a"]]}, "FILE: the array values holds <U1; give numbers"),
        ({"values": np.zeros((1, 1, 1, 1))}, "FILE: the array values has shape [1, 1, 1, 1]"),
        ({"values": [[1.0, np.inf]], "labels": ["a"]}, "FILE:1: holds infinity"),
        ({"values": np.array([[1.0], [1.0, 2.0]], dtype=object)}, "FILE: cannot be read without executing"),
    ],
)  # fmt: skip
def test_arrays_that_cannot_be_read_name_the_array(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    assert refused(tmp_path / "x.npz").startswith(message)


def test_a_damaged_array_file_is_bad_data(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", values=np.arange(100.0)[None], labels=["a"])
    content = (tmp_path / "x.npz").read_bytes()
    for cut in (0, 10, 100, len(content) // 2):
        (tmp_path / "y.npz").write_bytes(content[:cut])
        assert refused(tmp_path / "y.npz").startswith("FILE: ")
    with pytest.raises(InputMissing):
        read_series(tmp_path / "z.npz")


def test_texts_are_not_taken_for_series(tmp_path: Path) -> None:
    assert series_format(write(tmp_path / "x.txt", "a text\nand another\n")) is None
    assert series_format(write(tmp_path / "x.csv", "text,label\nsome words,1\n")) is None
    assert series_format(write(tmp_path / "y.tsv", "text\tlabel\nsome words\t1\n")) is None
    assert series_format(tmp_path / "x.conllu") is None
    with pytest.raises(UsageError, match="--format ucr"):
        read_series(tmp_path / "x.txt")
    with pytest.raises(UsageError, match="did you mean 'ucr'"):
        read_series(tmp_path / "x.txt", format="ucs")
    with pytest.raises(UsageError, match="missing 'fill' is unknown"):
        read_series(tmp_path / "x.txt", format="ucr", missing="fill")


def test_a_series_cannot_be_changed_in_place(tmp_path: Path) -> None:
    series = read_series(write(tmp_path / "x.txt", "1 2 3\n")).examples[0].input
    with pytest.raises(ValueError, match="read-only"):
        series.values[0, 0] = 1.0
    assert series == Series(np.array([[2.0], [3.0]]))


def test_helpers_on_values_written_by_hand() -> None:
    nan = float("nan")
    assert without_missing_end(np.array([[1.0, nan], [nan, nan], [nan, 2.0], [nan, nan]])).shape == (3, 2)
    assert without_missing_end(np.full((2, 1), nan)).shape == (0, 1)
    assert interpolate(np.array([[nan], [0.0], [nan], [3.0]]))[:, 0].tolist() == [0.0, 0.0, 1.5, 3.0]
    assert [label_of(cell) for cell in ("1.0", "-1", "1.5", "walk", "", "?")] == ["1", "-1", "1.5", "walk", None, None]


@pytest.mark.skipif(not DATA.is_dir(), reason="CARRYOVER_TEST_DATA names no folder of real data")
def test_real_sets_have_the_sizes_of_their_manifest() -> None:
    heart = read_series(DATA / "ecg5000-train" / "ECG5000_TRAIN.txt.gz").examples
    assert Counter(one.gold for one in heart) == {("1",): 292, ("2",): 177, ("3",): 10, ("4",): 19, ("5",): 2}
    assert {one.input.values.shape for one in heart} == {(140, 1)}
    with gzip.open(DATA / "ecg5000-train" / "ECG5000_TRAIN.txt.gz", "rt") as lines:
        assert heart[0].input.values[:, 0].tolist() == [float(cell) for cell in next(lines).split()[1:]]
    for part in ("TRAIN", "TEST"):
        motions = read_series(DATA / "uea-basicmotions" / f"BasicMotions_{part}.ts.gz").examples
        assert Counter(one.gold for one in motions) == {
            (kind,): 10 for kind in ("Standing", "Running", "Walking", "Badminton")
        }
        assert {one.input.values.shape for one in motions} == {(100, 6)}
    [hours] = read_series(DATA / "ett-h1" / "ETTh1.csv.gz", require_labels=False).examples
    assert hours.input.values.shape == (17420, 7)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_value_that_no_model_can_read_is_named(value: float) -> None:
    scaler = SeriesScaler((0.0, 0.0), (1.0, 1.0))
    values = np.zeros((3, 2))
    values[1, 1] = value
    with pytest.raises(BadData, match=r"step 2 of channel 2 of a series is .*, which the model cannot read"):
        scaler.scale(Series(values))
    with pytest.raises(BadData, match="a series has no step"):
        scaler.scale(Series(np.zeros((0, 2))))


def test_a_value_that_is_too_large_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("1 2 3\n1 1e300 3\n")
    with pytest.raises(BadData, match=r"x.txt:2: value 1 is '1e300', which is too large"):
        read_series(path)


@pytest.mark.parametrize("values", [None, "abc", [["a"]], np.array([[None]], dtype=object)])
def test_a_series_is_made_of_numbers(values: object) -> None:
    with pytest.raises(TypeError, match="give numbers"):
        Series(values)  # type: ignore[arg-type]
    assert Series([[1, 2], [3, 4]]).shown == "2 steps of 2 channels"  # type: ignore[arg-type]
