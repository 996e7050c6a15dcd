"""A series: its columns, its split and its clock."""

import numpy as np
import pandas as pd
import pytest
from made_data import rows_of, write


def test_columns_must_be_named(tmp_path):
    with pytest.raises(ValueError, match=r"own\.csv: targets=\(\) must name at least one column"):
        rows_of(write(tmp_path, "a,b\n1,2\n"), targets=())


def test_shares_must_leave_rows_for_test(tmp_path):
    with pytest.raises(ValueError, match=r"shares train=0\.8, validation=0\.2 must be above 0 and leave some for test"):
        rows_of(write(tmp_path, "a,b\n1,2\n"), shares=(0.8, 0.2))


def test_a_semicolon_file_with_times_finds_its_period_and_gap(tmp_path):
    seconds = [0, 1, 2, 3, 10, 11, 12]
    path = write(tmp_path, "datetime;a;b\n" + "".join(f"2020-02-08 13:30:{s:02d};{s};{s}\n" for s in seconds))
    read = rows_of(path)
    assert read.period == pd.Timedelta("1s")
    assert list(np.flatnonzero(read.gaps)) == [4]
