"""Texts of Vivado's reports, for tests that read and change them.

FORMAT FIXTURES: the texts below were written by hand in the documented format of Vivado's reports. Their numbers are invented; no tool made them
and nothing in this project rests on them.
"""

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

+--------------------------------+-------------------+------------+------------+---------+------+------+--------+--------+--------------+
|            Instance            |      Module       | Total LUTs | Logic LUTs | LUTRAMs | SRLs |  FFs | RAMB36 | RAMB18 | DSP48 Blocks |
+--------------------------------+-------------------+------------+------------+---------+------+------+--------+--------+--------------+
| accelerator                    |             (top) |       1111 |       1011 |      96 |    4 | 2222 |      4 |      1 |           18 |
|   engine                       |            engine |       1111 |       1011 |      96 |    4 | 2222 |      4 |      1 |           18 |
|     activation_stores          | activation_stores |        107 |         11 |      96 |    0 |   22 |      4 |      1 |            0 |
|       (activation_stores)      | activation_stores |         11 |         11 |       0 |    0 |    0 |      0 |      0 |            0 |
|       banks[0].activations     |               ram |         96 |          0 |      96 |    0 |   22 |      4 |      1 |            0 |
|     multipliers                |             lanes |        103 |        103 |       0 |    0 |  500 |      0 |      0 |           18 |
|     operand_select             |    operand_select |        700 |        700 |       0 |    0 | 1200 |      0 |      0 |            0 |
|     row_statistics             |    row_statistics |        204 |        200 |       0 |    4 |  500 |      0 |      0 |            0 |
|       norm.layer_norm          |        layer_norm |        204 |        200 |       0 |    4 |  500 |      0 |      0 |            0 |
|         rows[1].squared        |      rom__param_2 |        204 |        200 |       0 |    4 |  500 |      0 |      0 |            0 |
+--------------------------------+-------------------+------------+------------+---------+------+------+--------+--------+--------------+
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


def change(file, old, new):
    """Replace a part of a report that is there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
