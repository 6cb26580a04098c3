"""Settings of the manual: Markdown prose, and a reference read from the docstrings."""

from importlib.metadata import version as installed_version

project = "STOMPyMQ"
author = "The STOMPyMQ contributors"
project_copyright = f"2026, {author}"
release = version = installed_version("stompy-core")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"STOMPyMQ {release}"

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False

# The manual builds without a network, so only our own names can be looked up: they must all
# resolve, while names of the standard library and of dependencies stay plain text.
nitpick_ignore_regex = [("py:.*", r"(?!stompy).*")]
