"""Energy of one inference: clocks / clock frequency x power. The clocks are exact; the power is an assumption with a name.

No power is measured here, and no open tool gives absolute milliwatts for Spartan-7. Published accelerators of this kind on the
XC7S15 draw 63 to 79 mW in total at 100 MHz; energies are therefore intervals, and the power at which a design would merely
equal a published energy stands beside them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from qtlib.config import ModelConfig
from qtlib.program.operations import Linear
from qtlib.program.program import Program

TABLE = "arXiv 2407.11041, results table; second-hand reading, not checked against the paper's artefacts"


class Interval(NamedTuple):
    """A quantity between two bounds, both included."""

    low: float
    high: float


class Power(NamedTuple):
    """What a device draws, in mW, with the reason to believe it."""

    name: str
    static: Interval  # also while nothing toggles
    dynamic: Interval
    origin: str

    @property
    def total(self) -> Interval:
        """Static plus dynamic."""
        return Interval(self.static.low + self.dynamic.low, self.static.high + self.dynamic.high)


class Published(NamedTuple):
    """One published point; nothing of it was measured here."""

    name: str
    model: ModelConfig | None
    bits: int | None
    latency_ms: float | None
    energy_mj: float
    origin: str

    @property
    def power_mw(self) -> float | None:
        """Power that latency and energy imply."""
        return None if self.latency_ms is None else self.energy_mj / self.latency_ms * 1e3


def _point(window: int, d_model: int, bits: int, latency_ms: float, energy_mj: float) -> Published:
    model = ModelConfig(window=window, d_model=d_model)
    return Published(f"n={window}, d={d_model}, {bits} bit", model, bits, latency_ms, energy_mj, TABLE)


PUBLISHED = (
    _point(6, 64, 8, 2.82, 0.212),
    _point(12, 64, 6, 4.61, 0.364),
    _point(12, 32, 4, 1.33, 0.084),
    Published("lowest of a search", None, None, None, 0.033, "arXiv 2505.17662, lowest energy named; second-hand"),
)
# Static and dynamic are not told apart by what is published, so the whole is taken as one range.
CALIBRATION = Power(
    "published totals",
    static=Interval(0, 0),
    dynamic=Interval(63, 79),
    origin="energy / latency of the published points of arXiv 2407.11041 on the XC7S15 at 100 MHz: 63 to 79 mW; second-hand",
)


def scenario(factor: float, static_mw: float) -> Power:
    """Calibration with its dynamic part multiplied; for designs that toggle more than the published ones.

    Args:
        factor: of the dynamic part, at least 1.
        static_mw: part of the published totals that is taken as static, 0 to 63 mW: an assumption, because the static
            power of the XC7S15 is not established here.

    Raises:
        ValueError: a factor below 1 or a static part outside 0..63 mW.
    """
    if not factor >= 1:
        raise ValueError(f"energy: factor={factor} must be 1 or more")
    low, high = CALIBRATION.total
    if not 0 <= static_mw <= low:
        raise ValueError(f"energy: static_mw={static_mw} is outside 0..{low:g}, the lowest published total")
    return Power(
        f"{factor:g} x dynamic, {static_mw:g} mW static",
        static=Interval(static_mw, static_mw),
        dynamic=Interval(factor * (low - static_mw), factor * (high - static_mw)),
        origin="assumption: " + CALIBRATION.origin,
    )


def duration_ms(clocks: int, clock_mhz: float) -> float:
    """Time of an inference in ms.

    Raises:
        ValueError: clocks or frequency not above 0.
    """
    if not (clocks > 0 and clock_mhz > 0):
        raise ValueError(f"energy: clocks={clocks} and clock_mhz={clock_mhz} must be above 0")
    return clocks / (clock_mhz * 1e3)


def energy_mj(clocks: int, clock_mhz: float, power: Power = CALIBRATION) -> Interval:
    """Energy of one inference in mJ, while the device computes; idle time and configuration are not in it."""
    seconds = duration_ms(clocks, clock_mhz) / 1e3
    return Interval(seconds * power.total.low, seconds * power.total.high)


def break_even_mw(clocks: int, clock_mhz: float, published: Published) -> float:
    """Power in mW at which this design would need as much energy as a published point."""
    return published.energy_mj / duration_ms(clocks, clock_mhz) * 1e3


def serial_clocks(program: Program) -> dict[str, int]:
    """Clocks of each linear layer in the published style, N O (I + 5) + 3, one multiplication at a time.

    N tokens, O outputs, I inputs; counted on the published template (arXiv 2407.11041). Attention products, softmax and norms
    are not in it.
    """
    return {
        op.y: program.tensors[op.x].shape[0] * op.weight.shape[0] * (op.weight.shape[1] + 5) + 3
        for op in program.operations
        if isinstance(op, Linear)
    }


def table_row(name: str, clocks: int, clock_mhz: float, power: Power = CALIBRATION) -> dict[str, Any]:
    """One design as a row: time, energy interval and break-even powers, with what they rest on."""
    low, high = energy_mj(clocks, clock_mhz, power)
    return {
        "design": name,
        "clocks": clocks,
        "clock_mhz": clock_mhz,
        "time_us": duration_ms(clocks, clock_mhz) * 1e3,
        "energy_low_uj": low * 1e3,
        "energy_high_uj": high * 1e3,
        "power": power.name,
        **{f"break_even_mw {point.name}": break_even_mw(clocks, clock_mhz, point) for point in PUBLISHED},
    }
