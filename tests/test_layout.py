"""The package reads from left to right: no module imports one from its right."""

import ast
import subprocess
import sys

import pytest

from qtlib.paths import ROOT

ORDER = (
    "paths config tools | program integer | data robust | model calibrate quantise lower train sensitivity tables study | "
    "devices schedule contents memory resources emit verilog simulate netlist synthesise place vendor knowledge energy | deploy explore | results figures interactive notebook run benchmark __main__"
)
GROUPS = [group.split() for group in ORDER.split("|")]
POSITION = {name: place for place, name in enumerate(name for group in GROUPS for name in group)}
WITHOUT_TORCH = [name for group in (GROUPS[0], GROUPS[1], GROUPS[2], GROUPS[4], GROUPS[6]) for name in group]

ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("torch is absent")
sys.meta_path.insert(0, Absent())
"""
LOAD = """
import importlib
for name in sys.argv[1:]:
    importlib.import_module("qtlib." + name)
"""


def modules():
    """Files of every module; a subpackage counts as one module."""
    found = {}
    for file in sorted((ROOT / "qtlib").rglob("*.py")):
        name = file.relative_to(ROOT / "qtlib").parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(file)
    return found


def imports(file):
    """Modules of qtlib, and first words of all others, that a file imports anywhere, also inside functions."""
    own, others = set(), set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file.name}: relative import"
            names = [f"qtlib.{alias.name}" for alias in node.names] if node.module == "qtlib" else [node.module]
        else:
            continue
        for name in names:
            words = name.split(".")
            if words[0] == "qtlib":
                own.update(words[1:2])
            else:
                others.add(words[0])
    return own, others


@pytest.mark.parametrize(
    ("name", "files"), modules().items(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_module_imports_only_from_its_left(name, files):
    assert name in POSITION, f"qtlib.{name} has no place in the order: {ORDER}"
    for file in files:
        right = {other for other in imports(file)[0] - {name, "__version__"} if POSITION[other] > POSITION[name]}
        assert not right, f"{file.relative_to(ROOT)} imports from its right: {sorted(right)}"


def test_only_training_and_its_benchmark_import_torch():
    users = {name for name, files in modules().items() for file in files if "torch" in imports(file)[1]}
    assert users <= {*GROUPS[3], "benchmark"}


def test_everything_but_training_loads_on_a_machine_without_torch():
    present = [name for name in WITHOUT_TORCH if name in modules()]
    assert {"program", "integer", "results"} <= set(present)
    done = subprocess.run([sys.executable, "-c", ABSENT + LOAD, *present], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_says_what_it_is():
    for files in modules().values():
        for file in files:
            assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))), f"{file.name} has no docstring"
