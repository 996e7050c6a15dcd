"""Data: what is read, what is refused and in which words, and how windows are cut."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtlib.config import DataConfig
from qtlib.data import DATASETS, Series, baselines, default_config, errors, fetch, load, load_csv, prepare, sources
from qtlib.data.series import by_count
from qtlib.data.windows import last_steps, seasonal

REAL = Path(os.environ.get("QTLIB_DATA", "/nonexistent"))


def needs(name: str) -> pytest.MarkDecorator:
    files = [file.name for file in DATASETS[name].files]
    here = all((REAL / file).is_file() for file in files)
    return pytest.mark.skipif(not here, reason=f"{' and '.join(files)} not in QTLIB_DATA")


def series(values, *, index=None, split=None, features=("a",), targets=("a",), **changes) -> Series:
    """A series of one column `a` (or a frame), half train, then a quarter each."""
    frame = values if isinstance(values, pd.DataFrame) else pd.DataFrame({"a": np.asarray(values, float)})
    if index is not None:
        frame.index = index
    rows = len(frame)
    fields = {
        "name": "made",
        "label": "made",
        "frame": frame,
        "features": features,
        "targets": targets,
        "split": by_count(rows // 2, rows // 4, rows) if split is None else np.array(split),
        "period": pd.Timedelta("1h") if index is not None else None,
        "unit": "unit",
        "origin": "file",
        "sha256": "",
    }
    return Series(**(fields | changes))


def hours(*parts: range) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(pd.Timestamp("2024-01-01") + pd.to_timedelta([h for part in parts for h in part], unit="h"))


def write(folder: Path, text: str | bytes, name: str = "own.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows_of(path: Path, **arguments) -> Series:
    return load_csv(path, **({"features": ("a",), "targets": ("b",)} | arguments))


# What is refused, and in which words


BAD = {
    "empty": ("", r"own\.csv: the file is empty \(0 bytes\); fetch it again"),
    "blank": ("\n\n", r"own\.csv: the file is empty \(2 bytes\)"),
    "binary": (b"a,b\n1,2\n\x00\x01", r"byte 0x00 at offset 8 is not UTF-8 text; this is not a CSV file"),
    "archive": (b"PK\x03\x04\xff\xfe", r"byte 0xff at offset 4 is not UTF-8 text"),
    "only a header": ("a,b\n", r"own\.csv: has a header but no rows; fetch it again"),
    "truncated": (
        "a,b\n1,2\n3",
        r"line 3 has 1 field\(s\), the header has 2; the file looks truncated, fetch it again",
    ),
    "short line inside": (
        "a,b\n1\n3,4\n",
        r"line 2 has 1 field\(s\), the header has 2; check the separator and that line",
    ),
    "long line": ("a,b\n1,2,3\n3,4\n", r"line 2 has 3 field\(s\), the header has 2"),
    "missing column": (
        "a,c\n1,2\n",
        r"column 'b' is missing; the file has a, c; name existing columns in features and targets",
    ),
    "column twice": ("a,b,b\n1,2,3\n", r"column 'b' occurs 2 times; rename all but one"),
    "text in a number": (
        "a,b\n1,2\n3,x4\n",
        r"line 3, column 'b': 'x4' is not a finite number \(decimal sign '\.'\); correct it, or leave the cell empty",
    ),
    "infinity": ("a,b\n1,inf\n", r"line 2, column 'b': 'inf' is not a finite number"),
    "all-missing column": (
        "a,b\n1,\n2,NA\n",
        r"column 'b' has no value in 2 rows; leave it out of features and targets",
    ),
    "repeated time": (
        "time,a,b\n2024-01-01 00:00,1,2\n2024-01-01 00:00,1,2\n",
        r"line 3: time 2024-01-01 00:00:00 repeats line 2; keep one of the two",
    ),
    "time backwards": (
        "time,a,b\n2024-01-01 01:00,1,2\n2024-01-01 00:00,1,2\n",
        r"line 3: time 2024-01-01 00:00:00 comes after 2024-01-01 01:00:00 of line 2; sort the rows by time",
    ),
    "day-first time": (
        "time,a,b\n31/01/2024 00:00,1,2\n",
        r"line 2: '31/01/2024 00:00' is not a time of the form YYYY-MM-DD HH:MM:SS; correct it or pass time_format",
    ),
}


@pytest.mark.parametrize(("content", "text"), BAD.values(), ids=BAD)
def test_a_bad_file_is_refused_with_file_line_and_value(tmp_path, content, text):
    with pytest.raises(ValueError, match=text) as caught:
        rows_of(write(tmp_path, content))
    assert str(caught.value).startswith("own.csv: ")


def test_a_missing_file_is_named_with_its_path(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"own\.csv: no such file at .*own\.csv; check the path or put the file there"
    ):
        rows_of(tmp_path / "own.csv")


def test_a_wrong_separator_is_refused_with_the_right_one(tmp_path):
    path = write(tmp_path, "a;b\n1;2\n")
    with pytest.raises(ValueError, match=r"the header has no comma but 1 semicolon character\(s\); pass separator=';'"):
        rows_of(path, separator=",")


def test_columns_must_be_named(tmp_path):
    with pytest.raises(ValueError, match=r"own\.csv: targets=\(\) must name at least one column"):
        rows_of(write(tmp_path, "a,b\n1,2\n"), targets=())


def test_shares_must_leave_rows_for_test(tmp_path):
    with pytest.raises(ValueError, match=r"shares train=0\.8, validation=0\.2 must be above 0 and leave some for test"):
        rows_of(write(tmp_path, "a,b\n1,2\n"), shares=(0.8, 0.2))


def test_an_unknown_name_is_refused_with_the_legal_ones():
    legal = "pems, etth1, airquality, beijing, airu, pems4w, flow; or give a path that ends in .csv"
    with pytest.raises(ValueError, match=f"data: dataset='pem' is not one of {legal}"):
        load(DataConfig(dataset="pem"))


def test_a_series_shorter_than_a_window_is_refused_with_its_length():
    text = (
        r"made: the 10 validation rows hold no gap-free run of window=12, horizon=1, outputs=1; take a shorter window"
    )
    with pytest.raises(ValueError, match=text):
        prepare(DataConfig(window=12), series=series(np.arange(40)))


def test_a_constant_column_is_refused_with_its_value():
    with pytest.raises(
        ValueError, match=r"column 'a' of made is constant \(7\) over the 20 train rows, so it has no scale"
    ):
        prepare(DataConfig(window=4), series=series([7] * 40))


def test_a_column_without_train_values_is_refused():
    with pytest.raises(ValueError, match=r"column 'a' of made has no value in the 20 train rows"):
        prepare(DataConfig(window=4), series=series([np.nan] * 20 + list(range(20))))


def test_a_soft_sensor_that_sees_its_answer_is_refused():
    with pytest.raises(ValueError, match="horizon=0 with target 'a' among the features puts the answer into the input"):
        prepare(DataConfig(window=4, horizon=0), series=series(np.arange(40)))


def test_an_anchor_without_a_forecast_is_refused():
    with pytest.raises(ValueError, match="anchored=True needs horizon >= 1, it is 0"):
        prepare(DataConfig(window=4, horizon=0, anchored=True), series=series(np.arange(40)))


def test_targets_that_change_by_a_constant_cannot_be_anchored():
    with pytest.raises(ValueError, match="never change over the horizon; take anchored=False"):
        prepare(DataConfig(window=4, anchored=True), series=series(np.arange(40)))


# Known files, downloads and the generator


def test_a_file_with_another_hash_is_refused_with_both_hashes(tmp_path):
    found = hashlib.sha256(b"date,OT\n").hexdigest()
    write(tmp_path, "date,OT\n", "ETTh1.csv")
    with pytest.raises(ValueError, match=rf"ETTh1\.csv: SHA-256 is {found}, expected f18de3ad.*; remove it"):
        fetch("etth1", search=[tmp_path])


def test_half_a_data_set_is_refused(tmp_path):
    write(tmp_path, "x", "pems_station_train.csv")
    with pytest.raises(FileNotFoundError, match="pems_station_test.csv is missing beside pems_station_train.csv"):
        fetch("pems", search=[tmp_path])


def known(monkeypatch, tmp_path, content: bytes, arrives: bytes | None) -> None:
    """Let etth1 be ``content`` by hash, not on this machine, and ``arrives`` what the host sends (None: no answer)."""
    file = sources.File("ETTh1.csv", hashlib.sha256(content).hexdigest(), "https://host.invalid/ETTh1.csv")
    monkeypatch.setitem(sources.DATASETS, "etth1", dataclasses.replace(DATASETS["etth1"], files=(file,)))
    monkeypatch.setattr(sources.paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(sources, "_unreachable", set())
    monkeypatch.delenv("QTLIB_DATA", raising=False)
    monkeypatch.delenv("QTLIB_OFFLINE", raising=False)

    def download(self, url, output_file, pooch):
        if arrives is None:
            raise ConnectionError(url)
        Path(output_file).write_bytes(arrives) if isinstance(output_file, str) else output_file.write(arrives)

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", download)


def test_a_download_with_the_right_hash_is_kept_in_raw(monkeypatch, tmp_path):
    known(monkeypatch, tmp_path, b"right", b"right")
    found = fetch("etth1")
    assert (found.origin, found.paths) == ("download", (tmp_path / "raw" / "ETTh1.csv",))
    assert found.paths[0].read_bytes() == b"right"


def test_a_download_with_another_hash_is_an_error_and_is_not_kept(monkeypatch, tmp_path):
    known(monkeypatch, tmp_path, b"right", b"wrong")
    with pytest.raises(
        ValueError, match=r"ETTh1\.csv: the download from https://host\.invalid/ETTh1\.csv does not have SHA-256"
    ):
        fetch("etth1")
    assert not list((tmp_path / "raw").iterdir())


def test_without_an_answer_the_generator_takes_over_and_says_so(monkeypatch, tmp_path, caplog):
    known(monkeypatch, tmp_path, b"right", None)
    with caplog.at_level(logging.WARNING, "qtlib"):
        made = load(DataConfig(dataset="etth1"))
    assert (made.origin, made.label) == ("synthetic", "ETTh1, oil temperature (synthetic)")
    assert "ETTh1.csv could not be downloaded (ConnectionError)" in caplog.text
    assert "no file of 'etth1' was found; the series is synthetic" in caplog.text


def test_raw_comes_before_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setattr(sources.paths, "RAW", tmp_path / "raw")
    monkeypatch.setenv("QTLIB_DATA", str(tmp_path / "own"))
    for folder in ("own", "raw"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder, "x", "airU.csv")
        assert fetch("airu").paths == (tmp_path / folder / "airU.csv",)
    assert str(fetch("airu")).endswith(f"airU.csv (file, SHA-256 {hashlib.sha256(b'x').hexdigest()})")


def test_what_was_not_found_says_so_in_words():
    assert str(fetch("airu", search=[])).startswith("no file found and none could be downloaded; a synthetic series")


def test_a_folder_that_does_not_exist_is_not_taken_for_missing_data(monkeypatch, tmp_path):
    monkeypatch.setenv("QTLIB_DATA", str(tmp_path / "typo"))
    with pytest.raises(NotADirectoryError, match=r"QTLIB_DATA=.*typo is not a folder; correct it or unset it"):
        load(DataConfig(dataset="airu"))


def test_other_targets_have_another_label_and_unit():
    made = load(DataConfig(dataset="etth1", targets=("HUFL",)), search=[])
    assert (made.label, made.unit) == ("ETTh1, HUFL (synthetic)", "unit of HUFL")


@pytest.mark.parametrize("name", DATASETS)
def test_the_generator_is_deterministic_labelled_and_can_be_prepared(name):
    config = default_config(name)
    first, second = load(config, search=[]), load(config, search=[])
    assert first.sha256 == second.sha256
    assert first.origin == "synthetic" and first.label.endswith("(synthetic)")
    assert not set(first.split) - {"train", "validation", "test", "unused"}
    prepared = prepare(config, series=first)
    assert prepared.label.endswith("(synthetic)") and np.isfinite(prepared.train.x).all()
    assert baselines(prepared).loc["ridge", "rmse"] < baselines(prepared).loc["naive", "rmse"]


def test_the_generator_lists_its_columns():
    with pytest.raises(ValueError, match="the synthetic airu has no column 'CO', only PM1, PM2_5, PM10"):
        load(DataConfig(dataset="airu", features=("CO",)), search=[])


# Formats


UCI = (
    "\ufeffDate;Time;T;PT08.S5(O3);;\r\n"
    "10/03/2004;18.00.00;13,6;1268;;\r\n"
    "10/03/2004;19.00.00;-200;-200,0;;\r\n"
    "11/03/2004;00.00.00;0,5;972;;\r\n"
    ";;;;;\r\n"
)


def test_the_uci_form_is_read_with_bom_crlf_decimal_comma_and_empty_ends(tmp_path):
    write(tmp_path, UCI, "AirQualityUCI.csv")
    read = load(DataConfig(dataset="airquality", features=("T",)), search=[tmp_path])
    assert list(read.frame.index) == [
        pd.Timestamp(2004, 3, 10, 18),
        pd.Timestamp(2004, 3, 10, 19),
        pd.Timestamp(2004, 3, 11),
    ]
    np.testing.assert_array_equal(read.frame, [[13.6, 1268], [np.nan, np.nan], [0.5, 972]])
    assert list(read.gaps) == [False, False, True]


def test_a_decimal_point_in_a_file_of_decimal_commas_is_refused(tmp_path):
    write(tmp_path, UCI.replace("13,6", "13.6"), "AirQualityUCI.csv")
    with pytest.raises(ValueError, match=r"AirQualityUCI\.csv: line 2, column 'T': '13\.6' is not a finite number"):
        load(DataConfig(dataset="airquality", features=("T",)), search=[tmp_path])


def test_the_beijing_form_joins_four_columns_to_a_time_and_reads_na(tmp_path):
    text = '"No","year","month","day","hour","TEMP","O3"\r\n1,2013,3,1,0,-0.5,85\r\n2,2013,3,1,1,NA,NA\r\n'
    write(tmp_path, text, "PRSA_Data_Nongzhanguan_20130301-20170228.csv")
    read = load(DataConfig(dataset="beijing", features=("TEMP",)), search=[tmp_path])
    assert read.frame.index[1] == pd.Timestamp("2013-03-01 01:00")
    np.testing.assert_array_equal(read.frame, [[-0.5, 85], [np.nan, np.nan]])


def test_the_airu_form_is_a_min_max_scaled_soft_sensor_split_at_new_year(tmp_path):
    times = pd.date_range("2021-12-20", periods=24 * 20, freq="h", tz="UTC")
    rng = np.random.default_rng(0)
    names = ("PM1", "PM2_5", "PM10", "Temperature", "Humidity", "RED", "NOX", "OZONE")
    frame = pd.DataFrame(rng.random((len(times), 8)), columns=names)
    frame.insert(0, "Timestamp", times.strftime("%Y-%m-%dT%H:%M:%S+00:00"))
    frame.to_csv(tmp_path / "airU.csv", index=False)
    config = default_config("airu")
    prepared = prepare(config, series=load(config, search=[tmp_path]))
    assert (config.horizon, prepared.m, prepared.O) == (0, 7, 1)
    assert prepared.series.frame.index[prepared.series.split == "test"][0] == pd.Timestamp("2022-01-01")
    assert len(prepared.test.x) == 24 * 8 - 23
    assert prepared.train.x.min() == 0 and prepared.train.x.max() == 1
    last = frame.OZONE[frame.Timestamp == "2022-01-02T00:00:00+00:00"]
    row = np.flatnonzero(prepared.test.time == np.datetime64("2022-01-02T00:00"))
    np.testing.assert_allclose(prepared.truth(prepared.test)[row, 0], last, atol=1e-6)


def test_pems_4w_is_one_line_of_a_file_without_header(tmp_path):
    lines = [",".join(str(line * 10_000 + step) for step in range(8064)) for line in range(3)]
    write(tmp_path, "\n".join(lines), "pems-4w.csv")
    read = load(DataConfig(dataset="pems4w", features=("sensor_2",), targets=("sensor_2",)), search=[tmp_path])
    assert list(read.frame.sensor_2[[0, 8063]]) == [20_000, 28_063]
    assert [int((read.split == s).sum()) for s in ("train", "validation", "test")] == [4032, 2016, 2016]


@pytest.mark.parametrize(
    ("content", "sensor", "text"),
    [
        ("1,2\n", "sensor_1", r"pems-4w\.csv: sensor 1 is outside 0\.\.0: the file has 1 line\(s\)"),
        ("1,2\n", "sensor_0", r"line 1 has 2 values, expected 8,064 \(one sensor a line, comma separated\)"),
        ("1;2\n", "sensor_0", r"line 1 is not a row of numbers"),
        ("1,2\n", "flow", r"column 'flow' of pems4w is not of the form sensor_<line from 0>"),
    ],
)
def test_a_bad_pems_4w_is_refused(tmp_path, content, sensor, text):
    write(tmp_path, content, "pems-4w.csv")
    with pytest.raises(ValueError, match=text):
        load(DataConfig(dataset="pems4w", features=(sensor,), targets=(sensor,)), search=[tmp_path])


def test_any_csv_can_be_named_as_the_data_set_and_is_not_changed(tmp_path):
    path = write(tmp_path, "a, b\n" + "".join(f"{n},{n * n}\n" for n in range(40)))
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    prepared = prepare(DataConfig(dataset=str(path), window=4, horizon=0, features=("a",), targets=("b",)))
    assert (prepared.series.features, prepared.series.targets, prepared.origin) == (("a",), ("b",), "file")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    assert prepared.series.sha256 == hashlib.sha256(before[0]).hexdigest()


def test_a_semicolon_file_with_times_finds_its_period_and_gap(tmp_path):
    seconds = [0, 1, 2, 3, 10, 11, 12]
    path = write(tmp_path, "datetime;a;b\n" + "".join(f"2020-02-08 13:30:{s:02d};{s};{s}\n" for s in seconds))
    read = rows_of(path)
    assert read.period == pd.Timedelta("1s")
    assert list(np.flatnonzero(read.gaps)) == [4]


# Windows


@given(
    holes=st.sets(st.integers(0, 79), max_size=12),
    absent=st.sets(st.integers(0, 79), max_size=8),
    window=st.integers(2, 6),
    horizon=st.integers(0, 3),
    outputs=st.integers(1, 3),
)
def test_windows_are_exactly_those_without_gap_missing_value_or_change_of_split(
    holes, absent, window, horizon, outputs
):
    kept = [h for h in range(80) if h not in holes]
    frame = pd.DataFrame({"a": np.arange(80.0), "b": np.arange(80.0)})
    frame.loc[list(absent), "a"] = np.nan
    made = series(frame.loc[kept].copy(), index=hours(kept), targets=("b",))
    config = DataConfig(window=window, horizon=horizon, outputs=outputs)
    for split in ("train", "validation", "test"):
        clock = [h for h, s in zip(kept, made.split, strict=True) if s == split]
        legal = [
            h
            for h in clock
            if all(t in clock for t in range(h - window + 1, h + horizon + outputs))
            and not any(t in absent for t in range(h - window + 1, h + 1))
        ]
        assert [kept[row] for row in last_steps(made, config, split)] == legal


def test_a_missing_target_drops_the_windows_that_need_it():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0)})
    frame.loc[6, "b"] = np.nan
    made = series(frame, targets=("b",))
    assert list(last_steps(made, DataConfig(window=4, horizon=0), "train")[:4]) == [3, 4, 5, 7]
    assert list(last_steps(made, DataConfig(window=4, horizon=1), "train")[:4]) == [3, 4, 7, 8]


def test_outputs_are_step_major_and_start_at_the_horizon():
    frame = pd.DataFrame({"a": np.arange(80.0), "b": 100 + np.arange(80.0) ** 2})
    prepared = prepare(DataConfig(window=4, horizon=2, outputs=3), series=series(frame, targets=("a", "b")))
    assert prepared.O == 6
    expected = [[5, 125, 6, 136, 7, 149]]  # last input step 3
    np.testing.assert_allclose(prepared.truth(prepared.train)[:1], expected, rtol=1e-6)
    np.testing.assert_array_equal(prepared.train.anchor[0], [3, 109] * 3)
    np.testing.assert_allclose(
        prepared.train.x[0, :, 0] * prepared.x_scale + prepared.x_offset, [0, 1, 2, 3], atol=1e-5
    )


def test_a_soft_sensor_is_asked_for_the_last_step_and_has_no_anchor():
    frame = pd.DataFrame({"a": np.arange(40.0), "b": 5 + np.arange(40.0)})
    prepared = prepare(DataConfig(window=4, horizon=0), series=series(frame, targets=("b",)))
    np.testing.assert_allclose(prepared.truth(prepared.train)[0], [8], rtol=1e-6)
    assert not prepared.train.anchor.any()


def test_relative_windows_hold_the_change_from_their_last_step():
    values = np.cumsum(np.arange(60) % 7).astype(float)
    plain, relative = (prepare(DataConfig(window=4, relative=r), series=series(values)) for r in (False, True))
    for before, after in zip((plain.train, plain.validation, plain.test), (relative.train, relative.validation, relative.test), strict=True):
        units = before.x * plain.x_scale
        np.testing.assert_allclose(after.x * relative.x_scale, units - units[:, -1:], atol=1e-4)
        np.testing.assert_array_equal(after.y, before.y)
    assert not relative.test.x[:, -1].any() and not relative.x_offset.any()
    assert relative.train.x.std() == pytest.approx(1)


def test_a_level_that_the_training_never_saw_does_not_reach_relative_windows():
    values = np.tile([0.0, 1.0, 3.0, 2.0], 20)
    shifted = np.where(np.arange(80) < 40, values, values + 100)  # behind the train rows
    first, second = (prepare(DataConfig(window=4, relative=True, anchored=True), series=series(v)) for v in (values, shifted))
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert np.abs(second.test.x).max() == pytest.approx(np.abs(first.test.x).max())


def test_a_feature_that_never_changes_in_a_window_cannot_be_relative():
    index = hours(range(20), range(100, 120), range(200, 220), range(300, 320))
    frame = pd.DataFrame({"a": np.arange(80.0) % 7, "b": np.repeat(np.arange(4.0), 20)})
    with pytest.raises(ValueError, match="feature 'b' never changes within a train window; leave it out, or take relative=False"):
        prepare(DataConfig(window=4, relative=True), series=series(frame, index=index, features=("a", "b")))


def test_an_anchored_target_is_the_scaled_change_and_comes_back():
    values = np.random.default_rng(0).normal(50, 5, 80)
    prepared = prepare(DataConfig(window=4, outputs=2, anchored=True), series=series(values))
    rows = np.arange(3, 38)
    change = np.stack([values[rows + 1] - values[rows], values[rows + 2] - values[rows]], axis=1)
    np.testing.assert_allclose(prepared.train.y, change / change.std(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(prepared.truth(prepared.train)[:, 0], values[rows + 1], rtol=1e-6)


@pytest.mark.parametrize("scaling", ["zscore", "minmax"])
def test_scalers_see_train_rows_only(scaling):
    values = np.random.default_rng(0).normal(size=80)
    other = np.concatenate([values[:40], 1000 * values[40:]])
    first, second = (prepare(DataConfig(window=4), series=series(v, scaling=scaling)) for v in (values, other))
    np.testing.assert_array_equal(first.x_offset, second.x_offset)
    np.testing.assert_array_equal(first.y_scale, second.y_scale)
    np.testing.assert_array_equal(first.train.x, second.train.x)


def test_results_of_another_shape_are_not_brought_to_units():
    prepared = prepare(DataConfig(window=4), series=series(np.arange(80)))
    with pytest.raises(ValueError, match=r"y has shape \[36\], the windows ask for \[36, 1\] \(\[N, O\]\)"):
        prepared.to_units(prepared.train.y[:, 0], prepared.train)


# Baselines


def test_errors_are_root_mean_square_and_mean_absolute():
    assert errors([3.0, 0.0], [0.0, 4.0]) == (pytest.approx(12.5**0.5), 3.5)


def test_errors_refuse_shapes_that_would_broadcast_and_values_that_are_no_numbers():
    with pytest.raises(ValueError, match=r"prediction has shape \[2, 1\], truth \[2\]"):
        errors(np.zeros((2, 1)), np.zeros(2))
    with pytest.raises(ValueError, match="1 of 2 errors are not finite"):
        errors([1.0, np.nan], [1.0, 1.0])


def test_ridge_is_exact_and_naive_is_one_off_on_a_line():
    table = baselines(prepare(DataConfig(window=4), series=series(np.arange(80))))
    assert table.loc["naive", "rmse"] == pytest.approx(1, rel=1e-5)
    assert table.loc["ridge", "rmse"] < 1e-3
    assert np.isnan(table.loc["seasonal-naive", "rmse"])
    assert table.loc["seasonal-naive", "rule"] == "no time of day in this series"


def test_the_seasonal_baseline_of_a_monday_is_friday():
    week = pd.bdate_range("2024-01-01", periods=20)
    index = pd.DatetimeIndex(np.concatenate([day + pd.timedelta_range(0, periods=24, freq="h") for day in week]))
    made = series(np.repeat(np.arange(20.0), 24), index=index)  # the value is the number of the weekday
    prepared = prepare(DataConfig(window=4), series=made)
    predicted, exact = seasonal(prepared, prepared.test)
    np.testing.assert_allclose(predicted, prepared.truth(prepared.test) - 1, atol=1e-5)
    assert exact == pytest.approx(96 / 116)  # 24 windows on four days, 20 on the Monday after a gap


def test_the_seasonal_baseline_never_looks_past_the_last_input():
    made = series(np.arange(24.0 * 12), index=hours(range(24 * 12)))
    prepared = prepare(DataConfig(window=4, horizon=20, outputs=10), series=made)
    predicted, _ = seasonal(prepared, prepared.test)
    assert (predicted <= prepared.test.anchor).all()


# The real files


@needs("pems")
def test_the_pems_station_gives_its_known_baselines():
    prepared = prepare(DataConfig())
    table = baselines(prepared)
    assert prepared.origin == "file" and prepared.m == 1
    assert int(prepared.series.frame.flow.isna().sum()) == 1  # the row that was not observed
    assert table.loc["naive", "rmse"] == pytest.approx(11.46, abs=0.005)
    assert table.loc["ridge", "rmse"] == pytest.approx(10.37, abs=0.01)


@needs("pems")
def test_the_pems_station_gives_the_quoted_baselines_when_windows_may_cross_nights():
    whole = load(DataConfig())
    crossing = dataclasses.replace(whole, frame=whole.frame.reset_index(drop=True))
    table = baselines(prepare(DataConfig(), series=crossing))
    assert (round(table.loc["naive", "rmse"], 1), round(table.loc["ridge", "rmse"], 1)) == (11.3, 10.2)


@needs("etth1")
def test_etth1_has_its_usual_months():
    prepared = prepare(DataConfig(dataset="etth1"))
    assert [len(w.x) + 24 for w in (prepared.train, prepared.validation, prepared.test)] == [8640, 2880, 2880]
    assert baselines(prepared).loc["naive", "rmse"] == pytest.approx(0.593, abs=0.001)


@needs("airquality")
def test_air_quality_gives_its_known_baselines():
    table = baselines(prepare(DataConfig(dataset="airquality")))
    assert table.loc["naive", "rmse"] == pytest.approx(187, abs=1)
    assert table.loc["ridge", "rmse"] == pytest.approx(147, abs=1)


@needs("airquality")
def test_air_quality_has_the_known_number_of_windows():
    made = load(default_config("airquality"))
    one = dataclasses.replace(made, split=np.full(len(made.frame), "train"), targets=("T",))
    assert len(last_steps(one, DataConfig(window=24, horizon=0), "train")) == 8622


@needs("beijing")
def test_beijing_has_the_known_number_of_windows():
    made = load(default_config("beijing"))
    one = dataclasses.replace(made, split=np.full(len(made.frame), "train"), features=(*made.features, "O3"))
    assert len(last_steps(one, DataConfig(window=24, horizon=0), "train")) == 24_619
