"""Settings of Sphinx. The site is built offline, with warnings as errors:

    python -m sphinx -W --keep-going -b html docs build/docs

Pages of entities, of the package and of commands, and the notebooks as they are committed, are written to docs/generated first.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import entity_pages
import package_pages

import qtlib
from qtlib.paths import NOTEBOOKS, write_atomic

GENERATED = Path(__file__).resolve().parent / "generated"


def generate() -> None:
    """Write the pages that are generated, each only where it has changed, and delete what is no longer one."""
    pages = {"entities": entity_pages.pages(), "package": package_pages.pages()}
    pages["notebooks"] = {
        file.name: file.read_text(encoding="utf-8")
        for file in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")
        if not file.name.endswith(".failed.ipynb")
    }
    wanted = {GENERATED / folder / name: text for folder, named in pages.items() for name, text in named.items()}
    for file in GENERATED.glob("*/*"):
        if file not in wanted:
            file.unlink()
    for file, text in wanted.items():
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            write_atomic(file, text)


generate()

project = "qtlib"
author = "qtlib authors"
copyright = author  # no year: equal sources give equal pages
version = release = qtlib.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "docstrings", "links"]
exclude_patterns = ["generated/*.md"]
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
suppress_warnings: list[str] = []

# Docstrings: see docstrings.py.
default_role = "py:obj"
highlight_language = "none"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_type_aliases = {"Codes": "Codes"}
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # those of torch refer to its own pages
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
add_module_names = False
toc_object_entries_show_parents = "hide"

# Notebooks are shown as they are committed.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # would come from the network
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
myst_update_mathjax = False
html_math_renderer = "mathml"

html_theme = "furo"
html_title = f"qtlib {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_last_updated_fmt = None
html_copy_source = False
html_show_sphinx = False
