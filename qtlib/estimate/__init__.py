"""Cells and energy before any tool runs; every number is a formula.

`estimate` adds up what a design needs, `check_fit` refuses what exceeds its device, `energy_mj` multiplies clocks by a power with a name.
"""

from qtlib.estimate.coefficients import BAND, COEFFICIENTS, YOSYS, Coefficients
from qtlib.estimate.device_fit import UNITS, check_fit, exceeded, fastest
from qtlib.estimate.energy import (
    CALIBRATION,
    PUBLISHED,
    TABLE,
    Interval,
    Power,
    Published,
    break_even_mw,
    duration_ms,
    energy_mj,
    scenario,
    serial_clocks,
    table_row,
)
from qtlib.estimate.resources import Estimate, by_component, estimate

__all__ = [
    "BAND",
    "CALIBRATION",
    "COEFFICIENTS",
    "PUBLISHED",
    "TABLE",
    "UNITS",
    "YOSYS",
    "Coefficients",
    "Estimate",
    "Interval",
    "Power",
    "Published",
    "break_even_mw",
    "by_component",
    "check_fit",
    "duration_ms",
    "energy_mj",
    "estimate",
    "exceeded",
    "fastest",
    "scenario",
    "serial_clocks",
    "table_row",
]
