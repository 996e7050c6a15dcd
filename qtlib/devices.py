"""Budgets of the devices, each with its data sheet."""

from __future__ import annotations

from dataclasses import dataclass

from qtlib.config import check_choice


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a device offers. One RAMB36 is 36 kbit of block RAM or two independent RAMB18."""

    name: str
    family: str
    lut: int
    ff: int
    lut_memory: int  # LUTs that can be memory
    ramb36: int
    dsp: int
    source: str

    @property
    def ramb18(self) -> int:
        """Half blocks of block RAM."""
        return 2 * self.ramb36


_SPARTAN7 = "AMD DS180, 7 Series FPGAs Data Sheet: Overview, table 2 (Spartan-7)"
DEVICES = {
    device.name: device
    for device in (
        Device(name="xc7s6", family="xc7", lut=3_750, ff=7_500, lut_memory=1_120, ramb36=5, dsp=10, source=_SPARTAN7),
        Device(
            name="xc7s15", family="xc7", lut=8_000, ff=16_000, lut_memory=2_400, ramb36=10, dsp=20, source=_SPARTAN7
        ),
        Device(
            name="xc7s25", family="xc7", lut=14_600, ff=29_200, lut_memory=5_000, ramb36=45, dsp=80, source=_SPARTAN7
        ),
        Device(
            name="xc7s50", family="xc7", lut=32_600, ff=65_200, lut_memory=9_600, ramb36=75, dsp=120, source=_SPARTAN7
        ),
    )
}


def device(name: str) -> Device:
    """The device of this name.

    Raises:
        ValueError: there is none; the text lists the known ones.
    """
    check_choice("hardware", "device", name, DEVICES)
    return DEVICES[name]
