"""What the LUTs and flip-flops of each quantity come to: least squares on the counts of data/cell_counts.csv.

How far off an estimate may be is `BAND`, from the designs of data/cell_counts_held_out.csv, which the fit has not seen; a test holds it.
``python -m qtlib cell-counts coefficients`` prints this table anew; `qtlib.studies.coefficient_fit` fits the reports of a user's Vivado.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from qtlib import __version__

# Of a whole design, relative; holds on every row of data/cell_counts_held_out.csv. What constant weights in LUTs take is less certain than the rest.
BAND = {"lut": 0.08, "ff": 0.05}
CONSTANT_BAND = 0.30  # more for that part of the LUTs


class Coefficients(NamedTuple):
    """What the LUTs and flip-flops of each quantity come to, by the designs of one tool."""

    fitted_to: str  # tool and version that counted them
    band: dict[str, float]  # how far off a total may be, relative
    values: dict[str, tuple[dict[str, float], dict[str, float]]]  # component -> LUTs, flip-flops of each quantity


COEFFICIENTS: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "multipliers": (
        {"accumulator bits": 0.989, "partial product bits": 2.38, "operand bits": 0.345},
        {"macs": 4.03, "accumulator bits": 0.994, "partial product bits": 0.0587, "operand bits": 1.75},
    ),
    "capture": (
        {"one": 1.0, "moved bits": 1.0},
        {"held bits": 1.0, "one": 4.0},
    ),
    "operands": (
        {
            "lane bits": 0.158,
            "unrolled lane bits": 0.908,
            "code bits": 1.46,
            "key bits": 0.169,
            "address bits": 4.08,
            "grouped outputs": 6.74,
            "normed outputs": 16.4,
        },
        {
            "unrolled lane bits": 0.22,
            "word bits": 0.892,
            "code bits": 1.15,
            "key bits": 0.0383,
            "grouped outputs": 1.19,
            "normed outputs": 3.83,
            "one": 25.4,
        },
    ),
    "requantisers": (
        {"sum bits": 2.63, "shifted bits": 0.269, "saturated bits": 1.16},
        {"sum bits": 2.36, "shifted bits": 0.0444, "saturated bits": 0.131},
    ),
    "retire": (
        {
            "residual bits": 1.6,
            "operand bits": 0.232,
            "multiplier bits": 0.673,
            "total bits": 0.879,
            "summed bits": 0.205,
            "offset bits": 0.667,
            "word bits": 0.58,
            "tag bits": 0.115,
            "address bits": 1.56,
            "grouped address bits": 3.07,
            "slice bits": 11.3,
            "group bits": 3.09,
            "instructions": 1.82,
        },
        {
            "operand bits": 0.817,
            "total bits": 0.47,
            "summed bits": 0.726,
            "offset bits": 2.87,
            "word bits": 0.98,
            "tag bits": 1.45,
            "address bits": 1.5,
            "grouped address bits": 1.39,
            "slice bits": 3.97,
            "group bits": 2.16,
            "instructions": 0.0877,
            "one": 76.7,
        },
    ),
    "issue": (
        {
            "address bits": 2.61,
            "grouped address bits": 3.81,
            "counter bits": 6.77,
            "normed counter bits": 2.42,
            "bank and lane bits": 2.97,
            "place bits": 6.21,
            "instructions": 1.41,
            "instruction bits": 1.29,
            "one": 50.3,
        },
        {
            "address bits": 1.69,
            "grouped address bits": 1.17,
            "counter bits": 3.41,
            "normed counter bits": 2.25,
            "bank and lane bits": 1.83,
            "place bits": 3.13,
            "instructions": 0.137,
            "instruction bits": 2.13,
            "one": 35.7,
        },
    ),
    "weight_store": (
        {"segment bits": 0.528, "place bits": 0.699},
        {"place bits": 0.0595},
    ),
    "load": (
        {"lane bits": 3.14, "address bits": 1.68, "one": 2.11},
        {"word bits": 0.997, "lane bits": 2.48, "address bits": 2.42, "one": 0.872},
    ),
    "unload": (
        {"one": 4.53},
        {"one": 2.54},
    ),
    "softmax": (
        {
            "score bits": 5.71,
            "kept score bits": 0.355,
            "total bits": 0.988,
            "address bits": 0.486,
            "slice bits": 6.63,
            "one": 19.3,
        },
        {
            "score bits": 5.85,
            "kept score bits": 1.98,
            "total bits": 1.07,
            "address bits": 5.14,
            "slice bits": 9.23,
            "one": 22.1,
        },
    ),
    "dividers": (
        {"total bits": 2.83, "requantisers": 14.0},
        {"total bits": 2.0, "requantisers": 22.4},
    ),
    "layer_norm": (
        {"row bits": 3.78, "one": 50.6},
        {"row bits": 2.7, "one": 40.6},
    ),
}

YOSYS = Coefficients("Yosys 0.70", BAND, COEFFICIENTS)


def load(file: Path) -> Coefficients:
    """Coefficients that `qtlib.studies.coefficient_fit.fit_reports` wrote, for `qtlib.estimate.resources.estimate`.

    Raises:
        ValueError: it is no such file, is damaged, or was fitted by another version.
    """
    try:
        plain = json.loads(Path(file).read_text(encoding="utf-8", errors="replace"))
        version, band = plain["qtlib"], {kind: float(value) for kind, value in plain["band"].items()}
        values = {
            name: tuple({key: float(value) for key, value in of.items()} for of in pair)
            for name, pair in plain["values"].items()
        }
        if sorted(values) != sorted(COEFFICIENTS) or {len(pair) for pair in values.values()} != {2}:
            raise ValueError("not the components of an estimate")
        fitted_to = f"{plain['tool']} {plain['version']}"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"fit: {file} holds no coefficients ({error!r}); run: python -m qtlib fit DIRECTORY..."
        ) from error
    if version != __version__:
        raise ValueError(f"fit: {file} is by qtlib {version}, this is {__version__}; fit again")
    return Coefficients(fitted_to, band, {name: (lut, ff) for name, (lut, ff) in values.items()})
