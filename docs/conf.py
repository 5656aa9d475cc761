"""How the pages of this folder become a site: `nox -s docs` builds it in `docs/_build`."""

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from safellm._version import __version__

project = "safellm"
author = "The safellm authors"
copyright = "The safellm authors, Apache-2.0"  # noqa: A001 - the name that Sphinx reads
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["myst.xref_missing"]  # links to files outside this folder: examples, tests

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
add_module_names = False
nitpicky = False

html_theme = "furo"
html_title = f"safellm {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
