"""What the engine does clock by clock, and where its stores lie; no torch, no tools.

`schedule` lays a program out on lanes, `timeline` says which clock does what, `allocate` where every store lies, `contents` what the
memories of constants hold.
"""

from qtlib.hardware.clock_tables import dial, operation_clocks
from qtlib.hardware.clock_timeline import Span, issued, timeline
from qtlib.hardware.devices import DEVICES, PLACED, Device, PlacedDevice, device, placed_device
from qtlib.hardware.engine_schedule import Schedule, choose_shape, schedule
from qtlib.hardware.lane_shape import Shape, legal_lanes, legal_unrolls
from qtlib.hardware.memory_allocation import Placed, allocate, placement, stores
from qtlib.hardware.memory_mapping import Resources, mapped
from qtlib.hardware.pipeline import START
from qtlib.hardware.rom_contents import contents

__all__ = [
    "DEVICES",
    "PLACED",
    "START",
    "Device",
    "Placed",
    "PlacedDevice",
    "Resources",
    "Schedule",
    "Shape",
    "Span",
    "allocate",
    "choose_shape",
    "contents",
    "device",
    "dial",
    "issued",
    "legal_lanes",
    "legal_unrolls",
    "mapped",
    "operation_clocks",
    "placed_device",
    "placement",
    "schedule",
    "stores",
    "timeline",
]
