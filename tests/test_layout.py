"""The rooms: each folder imports only from those to its left, knows nothing of what is not its matter, and is easy to find one's way in."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from qtlib.paths import ROOT

ORDER = "config paths processor command_line | program data | training hardware | estimate | toolchain | backends studies compendium | explore | __main__"
PLACE = {name: place for place, name in enumerate(ORDER.replace("|", " ").split())}
PLACE["__init__"] = PLACE["command_line"]  # it is loaded before all others, and has `processor` set the environment
# Packages and folders that a folder may not import, inside functions neither; what lies to its right is forbidden anyway.
MAY_NOT_KNOW = {
    "program": "torch pandas data",
    "data": "torch",
    "hardware": "torch training subprocess",
    "estimate": "torch training subprocess",
    "toolchain": "torch training",
    "backends": "torch training",
    "studies": "nbformat papermill matplotlib",
    "compendium": "torch training",
    "explore": "nbformat papermill matplotlib compendium",
}
# It makes programs of random weights, and not before one is asked for.
LAZILY = {"compendium/design_widgets.py": {"training"}}
WITHOUT_TORCH = ("program", "data", "hardware", "estimate", "toolchain", "backends", "compendium")
LONGEST = 400  # lines
LONG = {
    "training/quantised_encoder.py": "the model of the quantised training in one piece: what is computed next to what is learned",
    "toolchain/place_and_route.py": "one tool chain from a design to its clock, read from top to bottom",
}
# Tests that are not of one module.
OTHER_TESTS = {
    "test_docs": "of docs/",
    "test_layout": "of all folders",
    "test_main": "of __main__ and of the commands of all folders",
    "test_packages": "of pyproject.toml",
    "test_project": "of the Makefile",
    "test_wheel": "of what is installed",
}
OTHER_TEST_FOLDERS = {"hdl": "of hdl/", "notebooks": "of notebooks/"}
# Modules of before there were folders; none is left, as a file or in a text.
OLD = (
    "benchmark calibrate contents deploy devices emit energy figures integer interactive knowledge lower memory model netlist notebook place "
    "quantise resources results robust run schedule sensitivity simulate study synthesise tables tools train vendor verilog data.sources data.table"
)
HISTORY = {"CHANGELOG.md"}  # says what was called otherwise
# Names in tests of what happens where there is no such thing.
INVENTED = {
    "hdl/rtl/x.vhd", "hdl/templates/x.j2", "qtlib/none.py", "qtlib/x.py", "tests/hdl/none.py", "qtlib.program.rounding.round",
}  # fmt: skip
TEXTS = {
    ".cff", ".cpp", ".css", ".html", ".ipynb", ".j2", ".md", ".py", ".rst", ".toml", ".txt", ".vhd", ".yaml", ".yml", "",
}  # fmt: skip

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
    importlib.import_module(name)
"""

FILES = sorted((ROOT / "qtlib").rglob("*.py"))
FOLDERS = sorted({file.parent.name for file in FILES if file.parent != ROOT / "qtlib"})


def short(file):
    return str(file.relative_to(ROOT / "qtlib"))


def room(file):
    """The folder of a file, or its own name beside the folders."""
    return file.relative_to(ROOT / "qtlib").parts[0].removesuffix(".py")


def dotted(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(file):
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports(file, *, for_types=True):
    """Modules that a file imports anywhere, also inside functions, by their full names."""
    found, skipped = set(), set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test) and not for_types:
            skipped.update(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{short(file)}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if is_module(name) else node.module for name in names}
    return found


def is_module(name):
    file = ROOT.joinpath(*name.split("."))
    return file.with_suffix(".py").is_file() or (file / "__init__.py").is_file()


def names_of(file):
    """What a file defines or imports at its top."""
    found = set()
    for node in ast.walk(ast.Module([n for n in parsed(file).body if not isinstance(n, ast.If)], [])):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def rooms(file, **options):
    """Folders, and modules beside them, that a file imports of this package."""
    return {name.split(".")[1] for name in imports(file, **options) if name.startswith("qtlib.")} - {room(file)}


def test_every_folder_and_module_has_a_place_in_the_order():
    lost = {name for file in FILES for name in {room(file), *rooms(file)}} - set(PLACE)
    assert not lost, f"no place in the order: {sorted(lost)}; the order is {ORDER}"


def test_no_module_imports_from_its_right():
    right = {short(file): sorted(name for name in rooms(file) if PLACE[name] > PLACE[room(file)]) for file in FILES}
    wrong = [f"{file} imports from its right: {', '.join(names)}" for file, names in right.items() if names]
    assert not wrong, "\n".join((*wrong, f"the order is {ORDER}"))


def test_no_module_knows_what_is_not_its_matter():
    wrong = []
    for file in FILES:
        known = {name.split(".")[0] for name in imports(file, for_types=False)} | rooms(file, for_types=False)
        forbidden = known & set(MAY_NOT_KNOW.get(room(file), "").split()) - LAZILY.get(short(file), set())
        wrong += [f"{short(file)} may not know {name}" for name in sorted(forbidden)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", FOLDERS)
def test_modules_of_a_folder_do_not_import_each_other_in_a_circle(folder):
    graph = {
        dotted(file): {name for name in imports(file) if name.startswith(f"qtlib.{folder}")}
        for file in FILES
        if room(file) == folder
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import each other: {' <- '.join(error.args[1])}", pytrace=False)


def test_everything_but_training_loads_on_a_machine_without_torch():
    names = [dotted(file) for file in FILES if room(file) in WITHOUT_TORCH or file.parent == ROOT / "qtlib"]
    assert {
        "qtlib.program.reference",
        "qtlib.compendium.design_widgets",
        "qtlib.__main__",
        "qtlib.toolchain.commands",
    } <= set(names)
    done = subprocess.run([sys.executable, "-c", ABSENT + LOAD, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_says_what_it_is():
    silent = [short(file) for file in FILES if not ast.get_docstring(parsed(file))]
    assert not silent, f"no docstring: {silent}"


def test_every_module_is_short_enough_to_be_read():
    lines = {short(file): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    long = {file for file, count in lines.items() if count > LONGEST}
    assert long <= set(LONG), (
        f"{sorted(long - set(LONG))}: split by idea, so that each is found by the name of its file"
    )
    assert set(LONG) <= long, f"{sorted(set(LONG) - long)}: short by now; take it out of the list"


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_public_names_of_a_folder_exist_and_are_listed(folder):
    init = ROOT / "qtlib" / folder / "__init__.py"
    offered = set()
    for node in parsed(init).body:
        if isinstance(node, ast.ImportFrom):
            source = ROOT.joinpath(*node.module.split(".")).with_suffix(".py")
            assert source.parent == init.parent, f"{short(init)} offers names of {node.module}"
            names = {alias.name for alias in node.names}
            assert names <= names_of(source), f"{short(source)} has no {sorted(names - names_of(source))}"
            offered |= names
    listed = [
        ast.literal_eval(node.value)
        for node in parsed(init).body
        if isinstance(node, ast.Assign) and [target.id for target in node.targets] == ["__all__"]
    ]
    assert offered == {name for names in listed for name in names}
    hidden = {name for name in offered if (init.parent / f"{name}.py").is_file()}
    assert not hidden, f"{short(init)} offers functions that hide the modules of their names: {sorted(hidden)}"


def test_tests_mirror_the_folders():
    lost = []
    for file in (ROOT / "tests").rglob("test_*.py"):
        folders = file.relative_to(ROOT / "tests").parts[:-1]
        there = ROOT.joinpath("qtlib", *folders, f"{file.stem.removeprefix('test_')}.py").is_file()
        listed = folders[0] in OTHER_TEST_FOLDERS if folders else file.stem in OTHER_TESTS
        if not there and not listed:
            lost.append(str(file.relative_to(ROOT)))
    assert not lost, f"of which module are these? {lost}"


def texts():
    """Every text file that git knows or would add."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"this is no checkout of git: {done.stderr.strip()}")
    files = {ROOT / line for line in done.stdout.splitlines()} - {
        ROOT / name for name in (*HISTORY, "tests/test_layout.py")
    }
    return {file: file.read_text(encoding="utf-8") for file in sorted(files) if file.suffix in TEXTS and file.is_file()}


def is_known(name):
    """Whether a dotted name leads to a module of qtlib, or to what one defines."""
    words = name.split(".")
    while len(words) > 1 and not is_module(".".join(words)):
        words.pop()
    if words == name.split("."):
        return True
    file = ROOT.joinpath(*words)
    source = file / "__init__.py" if file.is_dir() else file.with_suffix(".py")
    name = name.split(".")[len(words)]
    return name in names_of(source) or name in ("__doc__", "__file__", "__name__")


def test_no_old_module_is_left():
    assert not [name for name in OLD.split() if is_module(f"qtlib.{name}")]


def test_every_module_and_file_that_a_text_names_exists():
    lost = {}
    for file, text in texts().items():
        found = set(re.findall(r"\bqtlib(?:\.[A-Za-z_]\w*)+(?![\w-])", text))
        found |= {
            f"qtlib.{name}"
            for names in re.findall(r"from qtlib import ([\w, ]+)", text)
            for name in re.findall(r"(\w+)(?: as \w+)?", names)
        }
        wrong = {name for name in found if not is_known(name)}
        wrong |= {name for name in found for old in OLD.split() if f"{name}.".startswith(f"qtlib.{old}.")}
        paths = set(
            re.findall(
                r"(?<![\w/.])(?:qtlib|tests|hdl/rtl|hdl/tb|hdl/templates|notebooks|docs)/[\w/]+(?:\.\w+)+\b", text
            )
        )
        wrong |= {
            path for path in paths if re.search(r"\.(py|vhd|cpp|j2|ipynb|md)$", path) and not (ROOT / path).is_file()
        }
        if wrong - INVENTED:
            lost[str(file.relative_to(ROOT))] = sorted(wrong - INVENTED)
    assert not lost, "\n".join(f"{file}: {', '.join(names)}" for file, names in lost.items())
