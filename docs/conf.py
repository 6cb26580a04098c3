"""Settings of the manual: Markdown prose, and reference tables that are read from the code."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "ext"))

project = "STOMPyMQ"
author = "The STOMPyMQ contributors"
project_copyright = f"2026, {author}"
release = version = installed_version("stompy-core")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "conformance",
    "from_code",
    "shown_signatures",
    "tutorials",
]
# What the execution of notebooks leaves beside the sources is no page.
exclude_patterns = ["_build", "_measured", "jupyter_execute", "**.ipynb_checkpoints"]

# The tutorials are executed when the manual is built; one that fails fails the build. One whose
# code has not changed since it was executed last, here or by `make notebooks`, comes from a cache.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_build" / "jupyter_cache")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True

# "--option" stays as it is typed.
smartquotes = False

html_theme = "furo"
html_title = f"STOMPyMQ {release}"
html_static_path = ["_static"]
html_css_files = ["manual.css"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

# `Name` in a docstring is a name of the code.
default_role = "py:obj"

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

# The manual builds without a network, so only our own names can be looked up: they must all
# resolve, while names of the standard library and of dependencies stay plain text.
nitpick_ignore_regex = [
    ("py:class", r"stompy\.admin\.rows\.\w+"),  # their fields are on the page of the admin topics
    ("py:.*", r"(?!stompy).*"),
    ("py:class", r"stompy_broker\.embed\.thread\.T|stompy\.ledger\.[MR]"),  # type variables
]
