"""The build of an image: write its context, build it, check its size, and run the smoke test."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from estimator.config import Image
from estimator.core.text import format_bytes
from estimator.errors import ImageError
from estimator.shipping.image.build_record import CONTEXT, RECORD, record_lock, reject_credentials, write_record
from estimator.shipping.image.build_spec import SCRATCH, spec_for, write_context
from estimator.shipping.image.builders import BuildOptions, ImageBuild, choose_builder, host_architecture, host_python
from estimator.shipping.image.container_inputs import check_extras, container_inputs
from estimator.shipping.image.registry import parse_reference
from estimator.shipping.image.smoke_test import run_smoke_test
from estimator.store.artefact import Artefact


def build(
    artefact: Artefact,
    settings: Image,
    options: BuildOptions,
    *,
    environment: Mapping[str, str],
    note: Callable[[str], None] = lambda text: None,
) -> ImageBuild:
    """Build and test the image of a version; its context and record are in the folder.

    Raises
    ------
    ImageError: the build fails, the image is too large, no container could serve with its serving section, or the
        smoke test fails.
    RegistryError: the tag or base is not an image reference, or the base cannot be pulled.
    """
    for reference in (options.tag, settings.base):
        if reference is not None and reference != SCRATCH:
            parse_reference(reference)
    architecture = settings.architecture or host_architecture()
    with _build_folder(options.folder):
        spec = spec_for(
            artefact, settings, tag=options.tag, python=settings.python or host_python(), architecture=architecture
        )
        container_inputs(spec.serving)
        check_extras(spec.serving, settings.extras)
        labels = json.dumps(dict(spec.labels), indent=1, ensure_ascii=False).encode()
        reject_credentials({"labels.json": labels, **spec.context()}, artefact.config, "built")
        context = options.folder / CONTEXT
        write_context(spec, context)
        note(f"context {context}")
        # `auto` takes the Python of this machine, which no engine has.
        only_direct = options.rootfs is not None or (settings.base == SCRATCH and options.builder == "auto")
        builder = choose_builder(options.builder, only_direct=only_direct)
        image = builder.build(spec, options, environment=environment, note=note)
        check_size(image, settings.max_size_mb)
        if architecture != host_architecture():
            note(f"not tested: the image is for {architecture}, this machine is {host_architecture()}")
        elif image.builder == "direct" and sys.platform != "linux":
            note("not tested: without an engine, an image only starts on Linux")
        else:
            with builder.start(image) as server:
                image = replace(image, smoke_test=run_smoke_test(artefact, server))
        write_record(image.record, options.folder)
        return image


def check_size(image: ImageBuild, max_size_mb: float) -> None:
    """Reject an image that is too large.

    Raises
    ------
    ImageError: it is larger than `max_size_mb`; the message names the largest layers.
    """
    if image.size_bytes <= max_size_mb * 1e6:
        return
    largest = sorted(image.layers, key=lambda layer: -layer[1])[:3]
    layers = ", ".join(f"{format_bytes(size_bytes)} {created_by[:60]}" for created_by, size_bytes in largest)
    raise ImageError(
        f"{image.spec.tag}: {format_bytes(image.size_bytes)} is more than image.max_size_mb allows: {layers}",
        hint="a smaller image.base, fewer image.extras, or a larger image.max_size_mb",
    )


@contextmanager
def _build_folder(folder: Path) -> Iterator[None]:
    """Lock the folder of a build and remove the record of the last one; disk errors become ImageError."""
    with record_lock(folder, purpose="building in it"):
        try:
            (folder / RECORD).unlink(missing_ok=True)
            yield
        except OSError as error:
            raise ImageError(f"{folder}: cannot be written: {error.strerror or error}") from error
