"""page: a version as one offline HTML file that predicts by itself."""

from __future__ import annotations

from pathlib import Path

from estimator.core.files import write_atomic
from estimator.serving.model_page.page import ModelPage, build_model_page
from estimator.store.artefact import Artefact, check_golden


def page(artefact: Artefact, output: Path) -> ModelPage:
    """Write a version as one offline HTML file, once it predicts its golden rows as it did when it was trained.

    Raises
    ------
    ArtefactError: it predicts something else now.
    PageError: the page cannot run this model, or would be too large.
    """
    check_golden(artefact)
    model_page = build_model_page(artefact)
    write_atomic(output, model_page.content)
    return model_page
