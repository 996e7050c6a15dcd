"""What is wrong with a CSV file is said with file, line and value."""

import pytest
from made_data import rows_of, write

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
