"""The software bill of materials of an image, in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from estimator.shipping.image.wheels import PACKAGE, PinnedPackage


def bill_of_materials(packages: Sequence[PinnedPackage], labels: Mapping[str, str]) -> bytes:
    """Return the bill as JSON; its serial number is a hash of its content, the same for the same image."""
    components = [_component(package) for package in packages]
    about = {
        "type": "application",
        "name": labels["org.opencontainers.image.title"],
        "version": labels["org.opencontainers.image.version"],
        "description": labels["org.opencontainers.image.description"],
    }
    content = json.dumps([about, components], sort_keys=True)
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
            "version": 1,
            "metadata": {
                "timestamp": labels["org.opencontainers.image.created"],
                "tools": {"components": [{"type": "application", "name": PACKAGE}]},
                "component": about,
            },
            "components": components,
        },
        indent=1,
    ).encode()


def _component(package: PinnedPackage) -> dict[str, Any]:
    name = package.name.lower().replace("_", "-").replace(".", "-")
    license_entry = {"licenses": [{"license": {"name": package.license}}]} if package.license else {}
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{package.version}",
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{name}@{package.version}",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in package.hashes],
        **license_entry,
    }
