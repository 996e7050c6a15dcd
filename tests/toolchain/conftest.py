"""A design that is synthesised once: tests that ask for it are of one group, `synthesised`, so that one worker has them all."""

import pytest

from qtlib.config import HardwareConfig
from qtlib.toolchain.design_directory import emit
from qtlib.toolchain.synthesis import synthesise
from qtlib.training.random_models import codes, program

STYLES = HardwareConfig(
    lanes=3, activations="distributed", weights="block", parameters="block", tables="distributed",
    stores={"broadcast": "block", "position": "distributed"},
)  # fmt: skip


@pytest.fixture(scope="session")
def synthesised(tmp_path_factory):
    """One small design, mapped once; every store class is forced to one memory type."""
    directory = tmp_path_factory.mktemp("design")
    prog = program()
    emit(prog, STYLES, directory, codes(prog, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QTLIB_PREPARED", str(directory / "prepared"))
        return directory, synthesise(directory)
