"""The price of an EC2 instance, estimated from the price list in this package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from estimator.shipping.deployment.base import Price

# Prices relative to size large: within a family, the price doubles with the size.
SIZE_FACTORS = {"nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1.0, "xlarge": 2.0}
HOURS_PER_MONTH = 730


def price(region: str, instance_type: str, disk_gb: int) -> Price | None:
    """Return the price of an instance with its disk and public address; None if the list does not have it.

    >>> round(price("us-east-1", "t3.small", 16).per_month, 2)
    20.11
    >>> price("us-east-1", "u-24tb1.112xlarge", 16) is None
    True
    """
    estimate = price_of(region, instance_types=[instance_type], disks_gb=[disk_gb], n_addresses=1)
    return None if estimate.unknown else estimate


def price_of(
    region: str, *, instance_types: Sequence[str] = (), disks_gb: Sequence[int] = (), n_addresses: int = 0
) -> Price:
    """Return the price of running instances, disks of type gp3 and public addresses.

    >>> price_of("us-east-1", instance_types=["u-24tb1.112xlarge"], n_addresses=1)
    Price(hourly={'public address': 0.005}, as_of='2026-06', unknown=('u-24tb1.112xlarge',))
    """
    regional = _regional(region)
    parts = [(instance_type, _instance_hour(regional, instance_type)) for instance_type in instance_types]
    for disk_gb in disks_gb:
        month = regional.get("gp3_gigabyte_month")
        parts.append((f"disk of {disk_gb} GB", None if month is None else month * disk_gb / HOURS_PER_MONTH))
    parts += [("public address", _prices()["public_address_hour"])] * n_addresses
    hourly: dict[str, float] = {}
    for name, dollars in parts:
        if dollars is not None:
            hourly[name] = hourly.get(name, 0.0) + dollars
    unknown = tuple(dict.fromkeys(name for name, dollars in parts if dollars is None))
    return Price(hourly, _prices()["as_of"], unknown)


def _regional(region: str) -> Mapping[str, Any]:
    """Return the prices of a region, empty if the list does not have it."""
    regions = _prices()["regions"]
    regional: Mapping[str, Any] = regions.get(region, {})
    return regions[regional["like"]] if "like" in regional else regional


def _instance_hour(regional: Mapping[str, Any], instance_type: str) -> float | None:
    family, _, size = instance_type.partition(".")
    large: float | None = regional.get("large_hour", {}).get(family)
    factor = SIZE_FACTORS.get(size) or (float(size.removesuffix("xlarge")) * 2 if size[:1].isdigit() else None)
    return None if large is None or factor is None else large * factor


@cache
def _prices() -> dict[str, Any]:
    prices: dict[str, Any] = json.loads(files("estimator.shipping.deployment.ec2").joinpath("prices.json").read_text())
    return prices
