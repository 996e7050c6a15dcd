"""Data sets: where a file is looked for, how each form is read, what the real ones are known to give."""

import dataclasses
import hashlib
import logging
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_data import write

from qtlib.config import DataConfig
from qtlib.data import datasets
from qtlib.data.baseline_forecasts import baselines
from qtlib.data.datasets import DATASETS, default_config, fetch, load
from qtlib.data.windows import last_steps, prepare

REAL = Path(os.environ.get("QTLIB_DATA", "/nonexistent"))


def needs(name: str) -> pytest.MarkDecorator:
    files = [file.name for file in DATASETS[name].files]
    here = all((REAL / file).is_file() for file in files)
    return pytest.mark.skipif(not here, reason=f"{' and '.join(files)} not in QTLIB_DATA")


def test_an_unknown_name_is_refused_with_the_legal_ones():
    legal = "pems, etth1, airquality, beijing, airu, pems4w, flow; or give a path that ends in .csv"
    with pytest.raises(ValueError, match=f"data: dataset='pem' is not one of {legal}"):
        load(DataConfig(dataset="pem"))


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
    file = datasets.File("ETTh1.csv", hashlib.sha256(content).hexdigest(), "https://host.invalid/ETTh1.csv")
    monkeypatch.setitem(datasets.DATASETS, "etth1", dataclasses.replace(DATASETS["etth1"], files=(file,)))
    monkeypatch.setattr(datasets.paths, "RAW", tmp_path / "raw")
    monkeypatch.setattr(datasets, "_unreachable", set())
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
    monkeypatch.setattr(datasets.paths, "RAW", tmp_path / "raw")
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
