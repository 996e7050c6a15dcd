"""Reports of Vivado are read strictly."""

import re

import pytest
from vivado_texts import HEAD, HIERARCHY, POWER, TIMING, UTILISATION, change

from qtlib.toolchain import vivado_reports


@pytest.fixture
def design(tmp_path):
    """A directory as the script leaves it; the timing report names the device in its own way."""
    for name, device, more, body in (
        ("utilisation", "xc7s15ftgb196-1", "", UTILISATION),
        ("hierarchy", "xc7s15ftgb196-1", "", HIERARCHY),
        ("timing", "7s15-ftgb196", "| Speed File   : -1  PRODUCTION 1.23 2018-06-13\n", TIMING),
        ("power", "xc7s15ftgb196-1", "| Grade        : commercial\n| Process      : typical\n", POWER),
    ):
        head = HEAD.format(command=f"report_{name}", device=device, state="Routed", more=more)
        (tmp_path / f"{name}.rpt").write_text(head + body)
    return tmp_path


def test_the_reports_of_a_routed_design_are_read_with_what_they_rest_on(design):
    assert vivado_reports.read(design) == {
        "kind": "vendor report",
        "tool": "vivado",
        "version": "2022.2",
        "part": "xc7s15ftgb196",
        "date": "Mon Jan  1 00:00:00 2024",
        "utilisation": {
            "lut": 1111,
            "lut_logic": 1011,
            "lut_memory": 100,
            "ff": 2222,
            "latches": 0,
            "ramb18": 9,
            "dsp": 18,
        },
        "hierarchy": {
            "": dict.fromkeys(("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0),
            "engine": dict.fromkeys(("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0),
            "engine/activation_stores": {"lut_logic": 11, "lut_memory": 0, "ff": 0, "ramb18": 0, "dsp": 0},
            "engine/activation_stores/banks_n0_activations": {
                "lut_logic": 0,
                "lut_memory": 96,
                "ff": 22,
                "ramb18": 9,
                "dsp": 0,
            },
            "engine/multipliers": {"lut_logic": 103, "lut_memory": 0, "ff": 500, "ramb18": 0, "dsp": 18},
            "engine/operand_select": {"lut_logic": 700, "lut_memory": 0, "ff": 1200, "ramb18": 0, "dsp": 0},
            "engine/row_statistics": dict.fromkeys(("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0),
            "engine/row_statistics/norm_layer_norm": dict.fromkeys(
                ("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0
            ),
            "engine/row_statistics/norm_layer_norm/rows_n1_squared": {
                "lut_logic": 200,
                "lut_memory": 4,
                "ff": 500,
                "ramb18": 0,
                "dsp": 0,
            },
        },
        "timing": {"setup_slack": 2.0, "hold_slack": 0.05, "period": 10.0, "highest_mhz": 125.0},
        "power": {
            "total_mw": 99.0,
            "dynamic_mw": 33.0,
            "static_mw": 66.0,
            "confidence": "Low",
            "activity_file": "---",
            "nets_matched": "NA",
            "junction_celsius": "25.5",
            "process": "typical",
        },
    }


def test_a_negative_slack_lowers_the_frequency(design):
    change(design / "timing.rpt", "      2.000        0.000", "     -2.500      -99.000")
    found = vivado_reports.read(design)["timing"]
    assert (found["setup_slack"], found["highest_mhz"]) == (-2.5, 80.0)


def test_the_newer_spelling_of_a_column_is_known(design):
    before = vivado_reports.read(design)
    change(design / "hierarchy.rpt", "DSP48 Blocks", "  DSP Blocks")
    assert vivado_reports.read(design) == before


def test_a_missing_report_names_the_command(design):
    (design / "power.rpt").unlink()
    text = (
        f"vivado_reports: {design.name} has no power.rpt; in the directory, run: vivado -mode batch -source vivado.tcl"
    )
    with pytest.raises(FileNotFoundError, match=re.escape(text)):
        vivado_reports.read(design)


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        (
            "power",
            "v.2022.2",
            "v.2023.1",
            "vivado_reports: power.rpt is of version 2023.1, utilisation.rpt of 2022.2; make all four again",
        ),
        (
            "timing",
            "7s15-",
            "7s25-",
            "vivado_reports: timing.rpt is of part xc7s25ftgb196, utilisation.rpt of xc7s15ftgb196; make all four again",
        ),
        (
            "utilisation",
            "Routed",
            "Synthesized",
            "vivado_reports: utilisation.rpt is of a design in state 'Synthesized', expected Routed",
        ),
        ("utilisation", "| DSPs", "| Dsps", "vivado_reports: utilisation.rpt has no row 'DSPs'"),
        ("power", "Device Static (W)", "Static (W)", "vivado_reports: power.rpt has no row 'Device Static (W)'"),
        ("hierarchy", "Instance", "Cell", "vivado_reports: hierarchy.rpt has no table of instances"),
        (
            "hierarchy",
            "LUTRAMs",
            "Memories",
            "vivado_reports: hierarchy.rpt, instance accelerator: LUTRAMs=None is not a count",
        ),
        (
            "hierarchy",
            "1200",
            "12.5",
            "vivado_reports: hierarchy.rpt, instance operand_select: FFs='12.5' is not a count",
        ),
        (
            "timing",
            "clk    {",
            "{",
            "vivado_reports: timing.rpt has no design timing summary, or no clock; was clock.xdc read?",
        ),
        (
            "power",
            "Tool Version",
            "Tool",
            "vivado_reports: power.rpt has no Vivado header with tool version and device",
        ),
    ],
)
def test_a_report_of_another_form_or_design_is_refused(design, file, old, new, text):
    change(design / f"{file}.rpt", old, new)
    with pytest.raises(ValueError, match=re.escape(text)):
        vivado_reports.read(design)
