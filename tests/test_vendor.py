"""Reports of Vivado are read strictly.

FORMAT FIXTURES: the texts below were written by hand in the documented format of Vivado's reports. Their numbers are invented; no tool made them
and nothing in this project rests on them.
"""

import re

import pytest

from qtlib import vendor

HEAD = """Copyright 1986-2022 Xilinx, Inc. All Rights Reserved. (FORMAT FIXTURE, written by hand)
----------------------------------------------------------------------------------------
| Tool Version : Vivado v.2022.2 (lin64) Build 3671981 Fri Oct 14 04:59:54 MDT 2022
| Date         : Mon Jan  1 00:00:00 2024
| Command      : {command}
| Design       : accelerator
| Device       : {device}
| Design State : {state}
{more}----------------------------------------------------------------------------------------

"""
UTILISATION = """1. Slice Logic
--------------

+----------------------------+------+-------+------------+-----------+-------+
|          Site Type         | Used | Fixed | Prohibited | Available | Util% |
+----------------------------+------+-------+------------+-----------+-------+
| Slice LUTs                 | 1111 |     0 |          0 |      8000 | 13.89 |
|   LUT as Logic             | 1011 |     0 |          0 |      8000 | 12.64 |
|   LUT as Memory            |  100 |     0 |          0 |      2400 |  4.17 |
| Slice Registers            | 2222 |     0 |          0 |     16000 | 13.89 |
|   Register as Flip Flop    | 2222 |     0 |          0 |     16000 | 13.89 |
|   Register as Latch        |    0 |     0 |          0 |     16000 |  0.00 |
+----------------------------+------+-------+------------+-----------+-------+

3. Memory
---------

+-------------------+------+-------+------------+-----------+-------+
|     Site Type     | Used | Fixed | Prohibited | Available | Util% |
+-------------------+------+-------+------------+-----------+-------+
| Block RAM Tile    |  4.5 |     0 |          0 |        10 | 45.00 |
|   RAMB36/FIFO*    |    4 |     0 |          0 |        10 | 40.00 |
|     RAMB36E1 only |    4 |       |            |           |       |
|   RAMB18          |    1 |     0 |          0 |        20 |  5.00 |
|     RAMB18E1 only |    1 |       |            |           |       |
+-------------------+------+-------+------------+-----------+-------+

4. DSP
------

+----------------+------+-------+------------+-----------+-------+
|    Site Type   | Used | Fixed | Prohibited | Available | Util% |
+----------------+------+-------+------------+-----------+-------+
| DSPs           |   18 |     0 |          0 |        20 | 90.00 |
+----------------+------+-------+------------+-----------+-------+
"""
HIERARCHY = """1. Utilization by Hierarchy
---------------------------

+--------------------------------+-----------------+------------+------------+---------+------+------+--------+--------+--------------+
|            Instance            |      Module     | Total LUTs | Logic LUTs | LUTRAMs | SRLs |  FFs | RAMB36 | RAMB18 | DSP48 Blocks |
+--------------------------------+-----------------+------------+------------+---------+------+------+--------+--------+--------------+
| accelerator                    |           (top) |       1111 |       1011 |      96 |    4 | 2222 |      4 |      1 |           18 |
|   engine                       |          engine |       1111 |       1011 |      96 |    4 | 2222 |      4 |      1 |           18 |
|     (engine)                   |          engine |        711 |        711 |       0 |    0 | 1200 |      0 |      0 |            0 |
|     banks[0].activations       |             ram |         96 |          0 |      96 |    0 |   22 |      4 |      1 |            0 |
|     norm.layer_norm            |      layer_norm |        204 |        200 |       0 |    4 |  500 |      0 |      0 |            0 |
|       rows[1].squared          |    rom__param_2 |        204 |        200 |       0 |    4 |  500 |      0 |      0 |            0 |
|     multipliers                |           lanes |        103 |        103 |       0 |    0 |  500 |      0 |      0 |           18 |
+--------------------------------+-----------------+------------+------------+---------+------+------+--------+--------+--------------+
* Note: The sum of lower-level cells may be larger than their parent cells total, due to cross-hierarchy LUT combining
"""
TIMING = """------------------------------------------------------------------------------------------------
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)  THS Failing Endpoints  THS Total Endpoints
    -------      -------  ---------------------  -------------------      -------      -------  ---------------------  -------------------
      2.000        0.000                      0                 9999        0.050        0.000                      0                 9999


------------------------------------------------------------------------------------------------
| Clock Summary
| -------------
------------------------------------------------------------------------------------------------

Clock  Waveform(ns)       Period(ns)      Frequency(MHz)
-----  ------------       ----------      --------------
clk    {0.000 5.000}      10.000          100.000
"""
POWER = """1. Summary
----------

+--------------------------+--------------+
| Total On-Chip Power (W)  | 0.099        |
| Design Power Budget (W)  | Unspecified* |
| Power Budget Margin (W)  | NA           |
| Dynamic (W)              | 0.033        |
| Device Static (W)        | 0.066        |
| Effective TJA (C/W)      | 5.0          |
| Max Ambient (C)          | 84.5         |
| Junction Temperature (C) | 25.5         |
| Confidence Level         | Low          |
| Setting File             | ---          |
| Simulation Activity File | ---          |
| Design Nets Matched      | NA           |
+--------------------------+--------------+
"""


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


def change(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_reports_of_a_routed_design_are_read_with_what_they_rest_on(design):
    assert vendor.read(design) == {
        "kind": "vendor report",
        "tool": "vivado",
        "version": "2022.2",
        "part": "xc7s15ftgb196",
        "date": "Mon Jan  1 00:00:00 2024",
        "utilisation": {"lut": 1111, "lut_logic": 1011, "lut_memory": 100, "ff": 2222, "latches": 0, "ramb18": 9, "dsp": 18},
        "hierarchy": {
            "": dict.fromkeys(("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0),
            "engine": {"lut_logic": 711, "lut_memory": 0, "ff": 1200, "ramb18": 0, "dsp": 0},
            "engine/banks_n0_activations": {"lut_logic": 0, "lut_memory": 96, "ff": 22, "ramb18": 9, "dsp": 0},
            "engine/norm_layer_norm": dict.fromkeys(("lut_logic", "lut_memory", "ff", "ramb18", "dsp"), 0),
            "engine/norm_layer_norm/rows_n1_squared": {"lut_logic": 200, "lut_memory": 4, "ff": 500, "ramb18": 0, "dsp": 0},
            "engine/multipliers": {"lut_logic": 103, "lut_memory": 0, "ff": 500, "ramb18": 0, "dsp": 18},
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
    found = vendor.read(design)["timing"]
    assert (found["setup_slack"], found["highest_mhz"]) == (-2.5, 80.0)


def test_the_newer_spelling_of_a_column_is_known(design):
    before = vendor.read(design)
    change(design / "hierarchy.rpt", "DSP48 Blocks", "  DSP Blocks")
    assert vendor.read(design) == before


def test_a_missing_report_names_the_command(design):
    (design / "power.rpt").unlink()
    text = f"vendor: {design.name} has no power.rpt; in the directory, run: vivado -mode batch -source vivado.tcl"
    with pytest.raises(FileNotFoundError, match=re.escape(text)):
        vendor.read(design)


@pytest.mark.parametrize(
    ("file", "old", "new", "text"),
    [
        ("power", "v.2022.2", "v.2023.1", "vendor: power.rpt is of version 2023.1, utilisation.rpt of 2022.2; make all four again"),
        ("timing", "7s15-", "7s25-", "vendor: timing.rpt is of part xc7s25ftgb196, utilisation.rpt of xc7s15ftgb196; make all four again"),
        ("utilisation", "Routed", "Synthesized", "vendor: utilisation.rpt is of a design in state 'Synthesized', expected Routed"),
        ("utilisation", "| DSPs", "| Dsps", "vendor: utilisation.rpt has no row 'DSPs'"),
        ("power", "Device Static (W)", "Static (W)", "vendor: power.rpt has no row 'Device Static (W)'"),
        ("hierarchy", "Instance", "Cell", "vendor: hierarchy.rpt has no table of instances"),
        ("hierarchy", "LUTRAMs", "Memories", "vendor: hierarchy.rpt, instance accelerator: LUTRAMs=None is not a count"),
        ("hierarchy", "1200", "12.5", "vendor: hierarchy.rpt, instance (engine): FFs='12.5' is not a count"),
        ("timing", "clk    {", "{", "vendor: timing.rpt has no design timing summary, or no clock; was clock.xdc read?"),
        ("power", "Tool Version", "Tool", "vendor: power.rpt has no Vivado header with tool version and device"),
    ],
)
def test_a_report_of_another_form_or_design_is_refused(design, file, old, new, text):
    change(design / f"{file}.rpt", old, new)
    with pytest.raises(ValueError, match=re.escape(text)):
        vendor.read(design)
