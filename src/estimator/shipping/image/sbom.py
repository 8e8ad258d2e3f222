"""A bill of materials: what software an image holds, in CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from estimator.shipping.image.wheels import PACKAGE, PinnedPackage


def bill_of_materials(pins: Sequence[PinnedPackage], labels: Mapping[str, str]) -> bytes:
    """Return the bill as JSON; its serial number is made from what it says, so that the same image has the same."""
    components = [_component(pin) for pin in pins]
    about = {
        "type": "application",
        "name": labels["org.opencontainers.image.title"],
        "version": labels["org.opencontainers.image.version"],
        "description": labels["org.opencontainers.image.description"],
    }
    told = json.dumps([about, components], sort_keys=True)
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, told)}",
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


def _component(pin: PinnedPackage) -> dict[str, Any]:
    name = pin.name.lower().replace("_", "-").replace(".", "-")
    licence = {"licenses": [{"license": {"name": pin.license}}]} if pin.license else {}
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}@{pin.version}",
        "name": pin.name,
        "version": pin.version,
        "purl": f"pkg:pypi/{name}@{pin.version}",
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
        **licence,
    }
