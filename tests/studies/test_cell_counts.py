"""The committed counts are read strictly."""

import pytest

from qtlib.studies import cell_counts


def test_a_corrupted_table_of_counts_is_refused_with_its_line(tmp_path):
    lines = cell_counts.FILE.read_text().splitlines()[:3]
    (tmp_path / "counts.csv").write_text("\n".join([*lines[:2], lines[2].rpartition(",")[0] + ",many"]))
    with pytest.raises(
        ValueError, match="counts.csv, line 3: ramb18='many' is not a count; restore the file or delete the line"
    ):
        cell_counts.rows(tmp_path / "counts.csv")
    (tmp_path / "counts.csv").write_text(lines[1])
    with pytest.raises(ValueError, match="counts.csv has the columns .*, expected tool, version, window"):
        cell_counts.rows(tmp_path / "counts.csv")
