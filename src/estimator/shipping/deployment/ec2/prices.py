"""The price of an EC2 instance, estimated from the price list in this package."""

from __future__ import annotations

import json
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
    prices = _prices()
    regional = prices["regions"].get(region)
    if regional is not None and "like" in regional:
        regional = prices["regions"][regional["like"]]
    family, _, size = instance_type.partition(".")
    factor = SIZE_FACTORS.get(size) or (float(size.removesuffix("xlarge")) * 2 if size[:1].isdigit() else None)
    if regional is None or factor is None or family not in regional["large_hour"]:
        return None
    hourly = {
        instance_type: regional["large_hour"][family] * factor,
        f"disk of {disk_gb} GB": regional["gp3_gigabyte_month"] * disk_gb / HOURS_PER_MONTH,
        "public address": prices["public_address_hour"],
    }
    return Price(hourly, prices["as_of"])


@cache
def _prices() -> dict[str, Any]:
    prices: dict[str, Any] = json.loads(files("estimator.shipping.deployment.ec2").joinpath("prices.json").read_text())
    return prices
