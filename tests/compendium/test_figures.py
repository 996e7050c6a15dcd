import time

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from qtlib.compendium import design_figures, figures
from qtlib.config import HardwareConfig
from qtlib.estimate import resources
from qtlib.estimate.quantities import quantities
from qtlib.hardware import memory_allocation, memory_mapping
from qtlib.hardware.engine_schedule import schedule
from qtlib.training import random_models


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


def test_every_component_and_store_has_a_name_in_the_words_of_the_field():
    plan = schedule(random_models.program(), HardwareConfig())
    assert set(design_figures.LABELS) == {*quantities(plan), *memory_allocation.stores(plan)}
    assert design_figures.label("weight_store 2") == "weights, part 2"


def test_a_memory_map_shows_every_block_ram_and_the_luts_of_every_store():
    rows = memory_allocation.placement(
        schedule(random_models.program(), HardwareConfig(weights="block", activations="block"))
    )
    fig = design_figures.memory_map(rows, ramb18=20, lut_memory=2400)
    above, below = fig.axes
    blocks = sum(row.ramb18 for row in rows)
    assert len(above.patches) == blocks + 20
    assert above.get_xlabel() == f"block RAM of 18 kbit: {blocks} of 20"
    assert [tick.get_text() for tick in below.get_yticklabels()] == [
        design_figures.label(row.store) for row in rows if row.lut_memory or row.lut_logic
    ]


def test_a_memory_map_shows_where_the_device_ends():
    rows = memory_allocation.placement(
        schedule(random_models.program(), HardwareConfig(weights="block", activations="block", tables="block"))
    )
    fig = design_figures.memory_map(rows, ramb18=2, lut_memory=2400)
    assert fig.axes[0].get_xlim()[1] > 2 and list(fig.axes[0].lines[0].get_xdata()) == [2, 2]


def test_a_heat_map_darkens_with_the_number_leaves_gaps_white_and_prints_every_number():
    table = pd.DataFrame([[-0.01, 4.0], [12.0, np.nan]], index=["v", "q"], columns=[4, 3])
    _, ax = plt.subplots()
    figures.heat_map(ax, table, digits=1, full=10)
    assert [text.get_text() for text in ax.texts] == ["0.0", "4.0", "12.0"]
    assert [text.get_color() for text in ax.texts] == ["black", "black", "white"]
    (image,) = ax.images
    colours = image.cmap(image.norm(image.get_array())).mean(axis=-1)[:, :]
    assert colours[0, 0] > colours[0, 1] > colours[1, 0] and image.get_array().mask[1, 1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["v", "q"]


def test_a_heat_map_without_a_range_is_refused():
    _, ax = plt.subplots()
    with pytest.raises(ValueError, match=r"^figures: full=0\.0 must be above empty=0\.0$"):
        figures.heat_map(ax, pd.DataFrame([[1.0]]), digits=1, full=0.0)


def estimated(lut, dsp=0):
    total = memory_mapping.Resources(lut=lut, dsp=dsp)
    return resources.Estimate("formula", "Yosys", {}, total, 4066, 4000, {"lut": 0.10, "ff": 0.08})


@pytest.mark.parametrize(
    ("lut", "dsp", "text"),
    [
        (7000, 20, "fits the xc7s15"),
        (7300, 20, "fits the xc7s15 by estimate, but the budget lies within the band: LUTs"),
        (8700, 20, "exceeds the xc7s15 by estimate, but the budget lies within the band: LUTs"),
        (8900, 21, "exceeds the xc7s15: LUTs, DSP blocks"),
    ],
)
def test_the_verdict_says_where_the_band_leaves_it_open(lut, dsp, text):
    assert design_figures.verdict(estimated(lut, dsp), "xc7s15") == text


def test_the_budget_shows_needs_in_percent_with_the_band_of_what_is_not_exact():
    ax = design_figures.budget(estimated(4000, 20), HardwareConfig()).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [50, 0, 0, 100, 0]
    whisker = ax.containers[1].lines[2][0].get_segments()[0][:, 0]
    assert whisker == pytest.approx([50 / 1.1, 50 / 0.9])
    assert ax.get_yticklabels()[0].get_text() == "LUTs: 4,000 of 8,000 (50 %)"
    assert ax.figure.get_suptitle() == "4,066 clocks, 40.7 µs at 100 MHz\nfits the xc7s15"


def test_what_exceeds_the_budget_is_told_by_more_than_colour():
    bars = design_figures.budget(estimated(900_000, 20), HardwareConfig()).axes[0].patches
    assert [bar.get_hatch() for bar in bars] == ["//", None, None, None, None]
