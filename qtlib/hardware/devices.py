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


@dataclass(frozen=True, kw_only=True)
class PlacedDevice:
    """A device that nextpnr places and routes; designs are not laid out for it, so it is no choice of `HardwareConfig`."""

    name: str
    family: str  # of Yosys: synth_<family>, and of nextpnr
    lut: int  # of four inputs, each with a register
    block_ram: int
    block_ram_kbit: int
    dsp: int
    dsp_bits: int  # of both operands of a multiplier
    options: tuple[str, ...]  # of nextpnr: size, package and speed
    grade: str
    source: str


PLACED = {
    placed.name: placed
    for placed in (
        PlacedDevice(
            name="lfe5u-25f", family="ecp5", lut=24_288, block_ram=56, block_ram_kbit=18, dsp=28, dsp_bits=18,
            options=("--25k", "--package", "CABGA381", "--speed", "6"), grade="speed grade 6, the slowest",
            source="Lattice FPGA-DS-02012, ECP5 and ECP5-5G Family Data Sheet, table 1.1",
        ),
        PlacedDevice(
            name="up5k", family="ice40", lut=5_280, block_ram=30, block_ram_kbit=4, dsp=8, dsp_bits=16,
            options=("--up5k", "--package", "sg48"), grade="one speed grade",
            source="Lattice FPGA-DS-02008, iCE40 UltraPlus Family Data Sheet, table 1.1 (4 SPRAM of 256 kbit are not used)",
        ),
    )
}  # fmt: skip


def device(name: str) -> Device:
    """The device of this name.

    Raises:
        ValueError: there is none; the text lists the known ones.
    """
    check_choice("hardware", "device", name, DEVICES)
    return DEVICES[name]


def placed_device(name: str) -> PlacedDevice:
    """The device of this name that nextpnr places.

    Raises:
        ValueError: there is none; the text lists the known ones.
    """
    check_choice("place", "device", name, PLACED)
    return PLACED[name]
