import time

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt

from qtlib import figures


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("QTLIB_FIGURES", str(tmp_path))
    with mpl.rc_context():
        mpl.use("Agg")
        figures.use_style()
        yield tmp_path
    plt.close("all")


def draw():
    fig, ax = plt.subplots()
    for power in range(3):
        ax.plot(np.arange(5) ** power, label=f"{power}")
    ax.set_title("µ and $x^2$")
    ax.legend()
    return fig


def test_the_same_numbers_give_the_same_bytes_at_another_time(folder):
    figures.save(draw(), "04_error")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    time.sleep(1.1)  # dates in a PDF have a resolution of one second
    figures.save(draw(), "04_error")
    assert first == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert sorted(first) == ["04_error.pdf", "04_error.png"]


def test_fonts_are_embedded_as_truetype_and_no_date_is_written(folder):
    figures.save(draw(), "04_error")
    content = (folder / "04_error.pdf").read_bytes()
    assert b"/CIDFontType2" in content
    assert b"/Type3" not in content
    assert b"CreationDate" not in content


def test_the_preview_is_small(folder):
    figures.save(draw(), "04_error")
    assert (folder / "04_error.png").stat().st_size < 60_000


def test_neighbouring_lines_differ_in_more_than_colour():
    lines = draw().axes[0].lines
    assert len({line.get_marker() for line in lines}) == len({line.get_linestyle() for line in lines}) == 3


def test_a_figure_of_synthetic_data_says_so(folder):
    fig = draw()
    figures.save(fig, "01_series", synthetic=True)
    assert "synthetic data" in [text.get_text() for text in fig.texts]


def test_a_figure_is_named_by_its_notebook():
    with pytest.raises(ValueError, match=r"^figures: name='error' must be two digits of the notebook and a word, like"):
        figures.save(draw(), "error")


def test_a_figure_that_cannot_be_drawn_leaves_the_previous_files_whole(folder):
    figures.save(draw(), "04_error")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    fig = draw()
    fig.axes[0].set_title("$\\nonsense$")
    with pytest.raises(ValueError, match="nonsense"):
        figures.save(fig, "04_error")
    assert first == {file.name: file.read_bytes() for file in folder.iterdir()}
