"""A design directory, and what external programs say of it: emit, simulate, synthesise, place, vendor reports.

A missing tool is an error with the command that installs it, never a number.
"""

from qtlib.toolchain.design_directory import SOURCES, describe, emit
from qtlib.toolchain.external_tools import MissingTool, ToolError, find, locate
from qtlib.toolchain.ghdl_verilog import HazardError, to_verilog
from qtlib.toolchain.input_stimuli import saturated, stimuli
from qtlib.toolchain.netlist_cells import Counts, LatchError
from qtlib.toolchain.netlist_simulation import check_netlist
from qtlib.toolchain.place_and_route import DoesNotFit, place
from qtlib.toolchain.simulation import Mismatch, missing, simulate
from qtlib.toolchain.synthesis import synthesise

__all__ = [
    "SOURCES",
    "Counts",
    "DoesNotFit",
    "HazardError",
    "LatchError",
    "Mismatch",
    "MissingTool",
    "ToolError",
    "check_netlist",
    "describe",
    "emit",
    "find",
    "locate",
    "missing",
    "place",
    "saturated",
    "simulate",
    "stimuli",
    "synthesise",
    "to_verilog",
]
