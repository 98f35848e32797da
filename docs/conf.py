"""Configuration of the documentation site: `make docs`."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "autoquant"
author = "autoquant contributors"
copyright = author
release = version = version_of("autoquant-torch")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "public_names",
    "repository_files",
    "settings_reference",
]
smartquotes_action = "D"  # two signs are a dash: the reference has them behind names of arguments
exclude_patterns = ["_build", "_ext"]

# ---- Markdown ------------------------------------------------------------------------------------

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4  # links to headings are checked
suppress_warnings = ["myst.header"]  # pages of the repository may begin at any level

# ---- the reference from docstrings ---------------------------------------------------------------

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
add_module_names = False
maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_use_unqualified_type_names = True

# Only names of autoquant's public interface must be found: the site is built without a network, so
# that other projects' references cannot be read, and what is internal has no page.
nitpick_ignore_regex = [
    ("py:.*", r"(?!autoquant\.).*"),
    ("py:.*", r"autoquant\.\w+\..*"),
]

# ---- HTML ----------------------------------------------------------------------------------------

html_theme = "furo"
html_title = f"autoquant {release}"
html_static_path = ["_static"]
html_css_files = ["layout.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
