"""What offline pages share: the text of a template, and the hash by which a browser knows a page's own sources."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files


def template(name: str, package: str = "estimator.pages.templates") -> str:
    """Return the text of a package's file."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def source_hash(source: str) -> str:
    """Return what a content security policy calls this source and no other.

    >>> source_hash("")
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='
    """
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"
