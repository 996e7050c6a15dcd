"""The built package, installed away from the repository: it brings what its commands read and writes to the working folder alone."""

import os
import re
import shutil
import subprocess
import sys

import pytest

import qtlib
from qtlib import __main__ as cli
from qtlib.paths import ROOT
from qtlib.program.file import save
from qtlib.training import random_models

DECLARE = """
import argparse, importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("nbformat", "papermill", "matplotlib", "seaborn", "ipywidgets", "psycopg2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for folder in sys.argv[1:]:
    for command in importlib.import_module(f"qtlib.{folder}.commands").COMMANDS.values():
        command.declare(argparse.ArgumentParser())
"""
TABLES = """
import sys
from qtlib import paths
for name in sys.argv[1:]:
    print(paths.table(paths.DATA / name).read_text(), end="")
"""


def done(words, **options):
    """A process that must succeed."""
    finished = subprocess.run([*map(str, words)], capture_output=True, text=True, **options)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Folder of the installed package; nothing but this package is installed again."""
    folder = tmp_path_factory.mktemp("wheel")
    done([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder / "dist", ROOT])
    (wheel,) = folder.glob("dist/*.whl")
    done([sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--target", folder / "packages", wheel])
    return folder / "packages"


@pytest.fixture
def run(environment, tmp_path):
    """Start a program in an empty folder, with the package that was installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("QTLIB_")}
    kept |= {"PYTHONPATH": str(environment), "PYTHONDONTWRITEBYTECODE": "1"}
    work = tmp_path / "work"
    work.mkdir()

    def start(*words):
        return subprocess.run([*map(str, words)], cwd=work, env=kept, capture_output=True, text=True)

    start.folder = work
    return start


def files(folder):
    """Content of every file below a folder."""
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_the_program_tells_its_version_and_its_commands(run, environment):
    program = environment / "bin" / "qtlib"
    assert run(program, "--version").stdout == f"qtlib {qtlib.__version__}\n"
    text = run(program, "--help").stdout
    assert set(cli.COMMANDS) <= set(re.findall(r"^    ([\w-]+)", text, re.MULTILINE))
    where = run(sys.executable, "-c", "import qtlib; print(qtlib.__file__)").stdout
    assert where == f"{environment / 'qtlib' / '__init__.py'}\n"


def test_every_command_is_declared_without_the_packages_of_the_notebooks(run):
    folders = dict.fromkeys(folder for folder, _ in cli.COMMANDS.values())
    assert run(sys.executable, "-c", DECLARE, *folders).stderr == ""


@pytest.mark.needs_ghdl
def test_a_design_is_that_of_the_repository_and_nothing_is_written_into_the_environment(run, environment, tmp_path):
    before = files(environment)
    program = save(random_models.program(), tmp_path / "small.qtp")
    emitted = run(sys.executable, "-m", "qtlib", "emit", program, "--windows", "2")
    assert emitted.returncode == 0, emitted.stderr
    (design,) = (run.folder / "hdl" / "generated").iterdir()
    assert cli.main(["emit", str(program), "--windows", "2", "--directory", str(tmp_path / "design")]) == 0
    assert files(design) == files(tmp_path / "design")

    simulated = run(sys.executable, "-m", "qtlib", "simulate", program, "--windows", "2")
    assert simulated.returncode == 0, simulated.stderr
    assert '"mismatches": 0' in simulated.stdout
    assert {entry.name for entry in run.folder.iterdir()} == {"hdl"}
    assert files(environment) == before


def test_the_committed_tables_come_along_and_those_of_the_working_folder_go_before(run):
    tables = sorted((ROOT / "data").glob("*.csv"))
    read = run(sys.executable, "-c", TABLES, *(file.name for file in tables))
    assert read.stdout == "".join(file.read_text() for file in tables)
    (run.folder / "data").mkdir()
    (run.folder / "data" / tables[0].name).write_text("own\n")
    assert run(sys.executable, "-c", TABLES, tables[0].name).stdout == "own\n"


def test_without_the_repository_the_notebooks_are_said_to_be_there(run):
    refused = run(sys.executable, "-m", "qtlib", "run")
    assert refused.returncode == 1
    assert refused.stderr == "run: the notebooks are in the repository of qtlib, not in its package\n"


def test_the_source_distribution_can_build_and_test_itself(environment):
    (archive,) = (environment.parent / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, environment.parent / "source", filter="data")
    (source,) = (environment.parent / "source").iterdir()
    for name in ("tests", "notebooks", "docs", "figures", "data/results", "hdl/rtl", ".ci"):
        kept = {path for path in files(ROOT / name) if not {"__pycache__", "generated"} & set(path.parts)}
        assert kept <= set(files(source / name)), name
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "environment.yml", "CHANGELOG.md", "CITATION.cff"):
        assert (source / name).read_bytes() == (ROOT / name).read_bytes()
