"""The files around the package: they agree with each other and do what the README says."""

import os
import re
import shutil
import subprocess
import sys

import pytest

from qtlib.paths import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")


def make(*words, folder=ROOT, **environment):
    return subprocess.run(
        ["make", *words], cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600
    )


def test_make_help_names_every_target_of_the_readme():
    text = make("help").stdout
    for target in re.findall(r"^    make (\w+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert f"make {target} " in text


def test_the_readme_fits_on_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 100


def interpreter(folder, version):
    """A python that only tells its version."""
    file = folder / "old-python"
    file.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit 0\nexit 1\n')
    file.chmod(0o755)
    return file


def test_an_old_python_is_refused_with_the_remedy(tmp_path):
    python = interpreter(tmp_path, "3.9.2")
    done = make("setup", f"PYTHON={python}", f"VENV={tmp_path}/venv")
    text = (
        f"setup: {python} is 'Python 3.9.2', qtlib needs Python 3.11 or newer; "
        "name another interpreter, for example: make PYTHON=python3.12 setup"
    )
    assert done.returncode != 0
    assert text in done.stderr
    assert not (tmp_path / "venv").exists()


def test_a_failed_installation_is_not_taken_for_done(tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    assert make("setup", f"PYTHON={sys.executable}", f"VENV={tmp_path}/venv").returncode != 0
    assert not (tmp_path / "venv" / ".qtlib-installed").exists()


def test_missing_hardware_tools_print_the_command_and_do_not_stop_the_rest():
    done = make("hdl-tools", "APT=no", QTLIB_GHDL="no-such-ghdl")
    command = r"(sudo )?apt-get update && (sudo )?apt-get install --yes --no-install-recommends ghdl-(mcode|llvm) verilator g\+\+ make"
    assert done.returncode == 0
    assert re.search(f"^setup: Debian packages are missing; install them with: {command}$", done.stderr, re.MULTILINE)
    assert done.stderr.endswith("setup: going on without hardware simulation\n")


@pytest.mark.parametrize("script", [".ci/run", ".ci/apt"])
def test_scripts_are_executable_and_parse(script):
    assert os.access(ROOT / script, os.X_OK)
    shell = "bash" if script == ".ci/run" else "sh"
    assert subprocess.run([shell, "-n", ROOT / script]).returncode == 0


@pytest.mark.parametrize(("apt", "test", "status"), [(0, 0, 0), (0, 3, 2), (1, 0, 1)], ids=["sound", "test", "apt"])
def test_continuous_integration_passes_every_failure_on(tmp_path, apt, test, status):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / ".ci" / "apt").write_text(f"exit {apt}\n")
    (tmp_path / "Makefile").write_text(f"check docs:\n\t@true\ntest:\n\t@exit {test}\n")
    # An interpreter that does not exist makes the script ask for packages.
    environment = {**os.environ, "PYTHON": "no-such-python"}
    assert subprocess.run([tmp_path / ".ci" / "run"], env=environment, capture_output=True).returncode == status
