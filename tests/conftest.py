"""Marks for what a machine may lack: ``@pytest.mark.needs_ghdl`` and so on for every tool of `qtlib.tools`.

A test whose tool is missing is skipped with the tool's name and the command that installs it. With QTLIB_REQUIRE_TOOLS=1, as
in continuous integration, it fails instead.
"""

import os

import pytest

from qtlib import tools


def _mark(tool):
    return "needs_" + tool.replace("-", "_").replace("+", "x")


needs_ghdl = pytest.mark.needs_ghdl
needs_verilator = pytest.mark.needs_verilator
needs_yosys = pytest.mark.needs_yosys


def pytest_configure(config):
    for tool in tools.TOOLS:
        config.addinivalue_line("markers", f"{_mark(tool)}: needs {tool}")


def pytest_runtest_setup(item):
    for tool in tools.TOOLS:
        if item.get_closest_marker(_mark(tool)):
            try:
                tools.locate(tool)
            except tools.MissingTool as missing:
                if os.environ.get("QTLIB_REQUIRE_TOOLS") == "1":
                    pytest.fail(str(missing), pytrace=False)
                pytest.skip(str(missing))
