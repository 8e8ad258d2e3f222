"""Template + values -> one offline page with the shared style sheet, or a text file such as YAML or Markdown."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from estimator.core.text import format_number, markdown

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = "estimator.pages.templates"


def render_page(template: str, *, script: str = "", **values: Any) -> bytes:
    """Return an HTML page that needs no other file; every value is escaped.

    A template of another package is named "package:file". The page's content security policy allows the shared style
    sheet and `script`, by their hashes, and nothing else.
    """
    style = resource("style.css", "estimator.pages")
    page = _environment().get_template(template)
    hashes = {"style_hash": source_hash(style), "script_hash": source_hash(script)}
    return page.render(style=style, script=script, **hashes, **values).encode()


def render_text(template: str, **values: Any) -> str:
    """Return a text file; nothing is escaped, so the template must quote what the format could misread."""
    return _environment().get_template(template).render(**values)


def resource(name: str, package: str = TEMPLATES) -> str:
    """Return the text of a file in a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def source_hash(source: str) -> str:
    """Return the hash by which a content security policy allows this source.

    >>> source_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


@cache
def _environment() -> Environment:
    # Imported late: a server renders at most one page, and most commands none.
    from jinja2 import Environment, FunctionLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=FunctionLoader(_source),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "code": _markdown_code, "cell": _markdown_cell, "plain": markdown}
    return environment


def _source(template: str) -> str:
    package, separator, name = template.rpartition(":")
    return resource(name, package if separator else TEMPLATES)


def _markdown_code(text: object) -> str:
    """Return a text as inline code, in which Markdown interprets nothing.

    >>> _markdown_code("a|b"), _markdown_code("a `quoted` name")
    ('`a\\\\|b`', "`a 'quoted' name`")
    """
    return f"`{' '.join(str(text).split()).replace('|', chr(92) + '|').replace('`', chr(39))}`"


def _markdown_cell(text: object) -> str:
    """Return a text as it is, on one line, also in a cell of a table."""
    return " ".join(markdown(text).split()).replace("|", "\\|")
