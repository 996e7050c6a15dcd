"""Paths, names and commands between backticks become links, in every page: nobody writes a link to a file of the project by hand.

Formulas are written as MathML, which browsers show by themselves, so that a page needs no script and no network.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from python_names import python_object
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging

log = logging.getLogger(__name__)
OF_THE_PAST = {"changelog"}  # pages that may name what is no longer there


class Links(SphinxPostTransform):
    """Turn code that names something with a page into a link to it."""

    default_priority = 200  # behind the resolution of references

    def run(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            if not isinstance(node.parent, (nodes.reference, nodes.title)) and (target := self.target(node)):
                page, anchor = target
                uri = self.app.builder.get_relative_uri(self.env.docname, page) + (f"#{anchor}" if anchor else "")
                reference = nodes.reference("", "", internal=True, refuri=uri)
                node.replace_self(reference)
                reference += node

    def target(self, node: nodes.literal) -> tuple[str, str] | None:
        """Page and anchor of what a piece of code names; None if it has no page."""
        text = node.astext()
        page = None
        anchor = ""
        if found := re.fullmatch(r"hdl/rtl/(\w+)\.vhd", text):
            page = f"generated/entities/{found[1]}"
        elif found := re.fullmatch(r"(?:notebooks/)?(\d\d_\w+)(?:\.ipynb)?", text):
            page = f"generated/notebooks/{found[1]}"
        elif found := re.match(r"(?:python -m )?qtlib ([\w-]+)(?= |$)", text):
            page, anchor = "generated/package/commands", found[1]
        elif re.fullmatch(r"data/(README\.md|[\w*-]+\.csv)", text):
            page = "tables"
        elif text == "docs/design.md":
            page = "design"
        elif found := re.fullmatch(r"(qtlib(?:/\w+)+)\.py|(qtlib(?:\.\w+)+)|(qtlib/\w+)/?", text):
            name = found[2] or (found[1] or found[3]).replace("/", ".")
            entry = self.env.domains["py"].objects.get(self.defined(name, node))
            if entry is None:
                return None
            page, anchor = entry.docname, entry.node_id
        return (page, anchor) if page in self.env.found_docs else None

    def defined(self, name: str, node: nodes.literal) -> str:
        """The name under which an object is documented: where it is defined, whatever else offers it."""
        try:
            found = python_object(name)
        except (ImportError, AttributeError):
            if self.env.docname not in OF_THE_PAST:
                log.warning("%s does not exist", name, location=node, type="qtlib", subtype="name")
            return name
        objects = self.env.domains["py"].objects
        own = f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}"
        return name if name in objects or own not in objects else own


def inline_math(self: Any, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(_mathml(node.astext(), block=False))
    raise nodes.SkipNode


def block_math(self: Any, node: nodes.math_block) -> None:
    """Write a formula of its own, with its number at the right."""
    text, number = re.subn(r"\\tag\{(\w+)\}", "", node.astext()), re.search(r"\\tag\{(\w+)\}", node.astext())
    shown = f'<span class="eqno">({number[1]})</span>' if number else ""
    self.body.append(f'<div class="math">{shown}{_mathml(text[0], block=True)}</div>')
    raise nodes.SkipNode


def _mathml(text: str, *, block: bool) -> str:
    # The converter writes one named entity that HTML knows, too.
    return tex2mathml(text, as_block=block)


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect everything above."""
    app.add_post_transform(Links)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
