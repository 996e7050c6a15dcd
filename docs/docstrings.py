"""How autodoc reads the docstrings of qtlib, which are plain text with code between backticks.

Nobody who writes a docstring has to know reStructuredText: stars and bars mean themselves, a block that is indented behind an
empty line is shown as it stands, and end-of-line comments of fields and constants are their documentation.
"""

from __future__ import annotations

import ast
import inspect
import io
import re
import sys
import tokenize
from functools import cache
from typing import Any

from docutils import nodes
from python_names import python_object
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging

log = logging.getLogger(__name__)
FOR_TOOLS = ("fmt:", "noqa", "type:")  # comments that say nothing to a reader
EMPHASIS = re.compile(r"(?<![\w*])(\*[A-Za-z](?:[\w -]*\w)?\*)(?![\w*])")


@cache
def comments(module: str) -> dict[tuple[str, str], str]:
    """End-of-line comment of every field and constant, by class ('' at the top level) and name."""
    source = inspect.getsource(sys.modules[module])
    at_line = {
        token.start[0]: token.string.lstrip("#: ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    tree = ast.parse(source)
    found: dict[tuple[str, str], str] = {}
    for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
        for node in owner.body:
            if isinstance(node, ast.AnnAssign):
                targets = [node.target]
            elif isinstance(node, ast.Assign):
                targets = node.targets
            else:
                continue
            text = at_line.get(node.end_lineno or 0) or at_line.get(node.lineno)
            for name in (target.id for target in targets if isinstance(target, ast.Name)):
                if text and not text.startswith(FOR_TOOLS):
                    found[getattr(owner, "name", ""), name] = text
    return found


def add_comments(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before a module is documented: its comments become the documentation of what they stand behind."""
    if what == "module" and name in sys.modules:
        analyzer = ModuleAnalyzer.for_module(name)
        analyzer.analyze()
        for key, text in comments(name).items():
            analyzer.attr_docs.setdefault(key, [text, ""])


def as_plain_text(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Make reStructuredText of one docstring, in place."""
    if what == "module" and obj is not None:  # as it stands: autodoc takes an indent that all lines share away
        lines[:] = [*(obj.__doc__ or "").splitlines(), ""]
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # napoleon takes the words before a colon in the first line for a type; this is none
    found: list[str] = []
    section = ""
    block: int | None = None  # indent of the line above a block that is shown as it stands
    for place, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and (not line.strip() or indent > block):
            found.append(line)
            continue
        block = None
        # What napoleon would take for a type: the words before a colon in a result, a sentence in place of an exception.
        section = line if re.fullmatch(r"\w+:", line) else section
        if line == "Returns:":
            line = ":returns:"
        elif section == "Raises:" and line.startswith("    as `"):
            line = f"    any: {line.lstrip()}"
        text = _escaped(line)
        found.append(text)
        following = lines[place + 1 : place + 3]
        if line.strip() and len(following) == 2 and not following[0] and following[1].startswith(" " * (indent + 4)):
            block = indent
            found += ["", "::"]
    lines[:] = found


def _escaped(line: str) -> str:
    """Stars, bars and trailing underscores outside code mean themselves; paths of VHDL become code."""
    parts = re.split(r"(``.+?``|`[^`]+`|(?<![\w/])(?:hdl|docs|data)/[\w/]+\.\w+|:\w+:`)", line)
    bullet = re.match(r"\s*\* ", line)
    for place, part in enumerate(parts):
        if place % 2:
            parts[place] = part if part.startswith(("`", ":")) else f"``{part}``"
        else:
            head = bullet[0] if bullet and place == 0 else ""
            words = re.split(EMPHASIS, part[len(head) :])
            words[::2] = [re.sub(r"(\*|\||(?<=\w)_(?!\w))", r"\\\1", word) for word in words[::2]]
            parts[place] = head + "".join(words)
    return "".join(parts)


def short_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, ...]:
    """Types as they are written in the source, not as NumPy and Sphinx expand them."""
    expanded = (
        r"[\w.~]*ndarray\[tuple\[[\w.~]*Any, \.\.\.\], [\w.~]*dtype\[([\w.~]+)\]\]",
        r"TypeAliasForwardRef\('(\w+)'\)",
    )
    written = r"NDArray[\1]", r"\1"
    found = []
    for text in (signature, returned):
        for old, new in zip(expanded, written, strict=True):
            text = text and re.sub(old, new, text)
        found.append(text)
    return tuple(found)


def resolve(app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.TextElement) -> nodes.Node | None:
    """A name between backticks means what it means to Python in the module of the docstring."""
    if node.get("refdomain") != "py":
        return None
    target, module = node["reftarget"], node.get("py:module")
    domain = env.domains["py"]
    scope = sys.modules.get(module or "")
    head, *rest = target.split(".")
    found = getattr(scope, head, None) if scope and head.isidentifier() else None
    candidates = [name for name in domain.objects if name.endswith(f".{target}")]
    if found is not None and hasattr(found, "__qualname__"):
        wanted = ".".join([found.__module__, found.__qualname__, *rest])
        candidates = [name for name in domain.objects if name == wanted] or candidates
    elif inspect.ismodule(found):
        candidates = [name for name in domain.objects if name == ".".join([found.__name__, *rest])]
    elif module:  # a name of the class that is documented, else the only one of the package
        own = [name for name in candidates if node.get("py:class") and name.startswith(f"{module}.{node['py:class']}.")]
        candidates = own or candidates
    if len(candidates) == 1:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", candidates[0], node, contnode)
    if target.startswith("qtlib.") and not candidates:
        return reference_by_import(app, env, node, contnode)
    return None


def reference_by_import(
    app: Sphinx, env: BuildEnvironment, node: Any, contnode: nodes.TextElement
) -> nodes.Node | None:
    """A dotted name of qtlib: its definition, if the name is an import; a warning, if there is no such thing."""
    target = node["reftarget"]
    try:
        found = python_object(target)
    except (ImportError, AttributeError):
        log.warning("%s does not exist", target, location=node, type="qtlib", subtype="name")
        return None
    wanted = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
    domain = env.domains["py"]
    if wanted in domain.objects:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", wanted, node, contnode)
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything above."""
    app.connect("autodoc-process-docstring", add_comments, priority=100)
    app.connect("autodoc-process-docstring", as_plain_text, priority=200)  # before napoleon, at 500
    app.connect("autodoc-process-signature", short_signature)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
