"""Settings of Sphinx for the documentation: `make docs` builds it into docs/_build/html."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import superpoint  # noqa: E402

project = "superpoint"
author = "the superpoint contributors"
version = release = superpoint.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton", "generated"]
exclude_patterns = ["_build"]
highlight_language = "none"  # of code blocks that name no language: mostly command lines
smartquotes = False  # "--size" is an option, no dash
default_role = "literal"  # docstrings have `code` in single backticks

myst_heading_anchors = 4
# Links that leave docs/ in the repository, where the text is read too, stay inside the site.
link_pages = {"../CONTRIBUTING.md": "contributing.md", "../superpoint/pretrained/README.md": "model-card.md"}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
# The site knows its own names; those of Python, NumPy and PyTorch would take a network.
nitpick_ignore_regex = [(r"py:.*", r".*")]

copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"superpoint {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
