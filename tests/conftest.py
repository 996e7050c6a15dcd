"""Marks for what a machine may lack: ``@pytest.mark.needs_ghdl`` and so on for every tool of `qtlib.toolchain.external_tools`.

A test whose tool is missing is skipped with the tool's name and the command that installs it. With QTLIB_REQUIRE_TOOLS=1, as
in continuous integration, it fails instead.
"""

import os

# One thread for each worker, set before NumPy and torch are loaded: on small matrices the threads of several workers mostly wait
# for each other. `torch.set_num_threads` still gives a test more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from qtlib.toolchain import external_tools


def _mark(tool):
    return "needs_" + tool.replace("-", "_").replace("+", "x")


def pytest_configure(config):
    for tool in external_tools.TOOLS:
        config.addinivalue_line("markers", f"{_mark(tool)}: needs {tool}")


def pytest_runtest_setup(item):
    for tool in external_tools.TOOLS:
        if item.get_closest_marker(_mark(tool)):
            try:
                external_tools.locate(tool)
            except external_tools.MissingTool as missing:
                if os.environ.get("QTLIB_REQUIRE_TOOLS") == "1":
                    pytest.fail(str(missing), pytrace=False)
                pytest.skip(str(missing))
