"""The page of a study: rendered from its content, and written into its folder."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autoquant.budget import readable
from autoquant.figures.labels import format_score, format_with_error
from autoquant.files import write_text
from autoquant.report_page.plan_rows import choice_texts
from autoquant.report_page.search_content import search_content
from autoquant.report_page.sweep_charts import shade_of
from autoquant.report_page.sweep_content import sweep_content
from autoquant.study.folder import Study

PACKAGE = "autoquant.report_page"


def write_page(study: Study) -> Path:
    """Write the page of a study into its folder: one file, which needs nothing beside it.

    Equal studies at equal paths give equal files.

    Args:
        study: of a search or a sweep.

    Returns:
        the file.

    Raises:
        UserError: the study has no outcomes, or one of its main files is not what it should be.
        RunError: the file cannot be written.
    """
    write_text(study.page_file, render_page(study))
    return study.page_file


def render_page(study: Study) -> str:
    """The HTML of a study's page.

    Args:
        study: of a search or a sweep.

    Raises:
        UserError: the study has no outcomes, or one of its main files is not what it should be.
    """
    sweep = study.runs_file.is_file()
    content = sweep_content(study) if sweep else search_content(study)
    style, script = _asset("page.css"), _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = _templates().get_template("sweep.html.jinja" if sweep else "search.html.jinja")
    return template.render(
        head=content.header,
        parts=content.parts,
        style=Markup(style),
        script=Markup(script),
        script_digest=digest,
    )


@cache
def _templates() -> Environment:
    """The templates, with what they write numbers with; texts are escaped."""
    environment = Environment(
        loader=PackageLoader(PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": readable,
        "score": format_score,
        "count": readable_count,
        "breakable": breakable,
        "shade": shade_of,
        "choice": choice_texts,
    }
    environment.globals |= {"with_error": format_with_error, "isfinite": math.isfinite}
    return environment


@cache
def _asset(name: str) -> str:
    """The text of a file beside the templates."""
    text = (files(PACKAGE) / "templates" / name).read_text(encoding="utf-8")
    return f"\n{text}"


def breakable(name: str) -> Markup:
    """A name that may be broken after its dots and underscores, escaped.

    Args:
        name: of a layer or a setting.

    >>> breakable("rnn.l0<1>")
    Markup('rnn.<wbr>l0&lt;1&gt;')
    """
    parts = re.split(r"(?<=[._])(?=.)", name)
    return Markup("<wbr>").join(parts)


def readable_count(count: float) -> str:
    """A number of operations for people.

    Args:
        count: at least 0.

    >>> readable_count(999), readable_count(643_072), readable_count(12_886_016)
    ('999', '643 k', '12.9 M')
    """
    for unit, factor in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= factor:
            value = count / factor
            return f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
    return f"{count:.0f}"
