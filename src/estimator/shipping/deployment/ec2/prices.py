"""What a machine of EC2 costs by the list that is shipped: an estimate, and None where the list says nothing."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from estimator.shipping.deployment.base import Price

# Within a family, the price doubles with the size.
TIMES = {"nano": 1 / 16, "micro": 1 / 8, "small": 1 / 4, "medium": 1 / 2, "large": 1.0, "xlarge": 2.0}
HOURS = 730


def price(region: str, instance_type: str, disk_gb: int) -> Price | None:
    """Return what a machine, its disk and its public address cost per hour.

    >>> round(price("us-east-1", "t3.small", 16).per_month, 2)
    20.11
    >>> price("us-east-1", "u-24tb1.112xlarge", 16) is None
    True
    """
    prices = _prices()
    known = prices["regions"].get(region)
    if known is not None and "like" in known:
        known = prices["regions"][known["like"]]
    family, _, size = instance_type.partition(".")
    times = TIMES.get(size) or (float(size.removesuffix("xlarge")) * 2 if size[:1].isdigit() else None)
    if known is None or times is None or family not in known["large_hour"]:
        return None
    hourly = {
        instance_type: known["large_hour"][family] * times,
        f"disk of {disk_gb} GB": known["gp3_gigabyte_month"] * disk_gb / HOURS,
        "public address": prices["public_address_hour"],
    }
    return Price(hourly, prices["as_of"])


@cache
def _prices() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files("estimator.shipping.deployment.ec2").joinpath("prices.json").read_text())
    return found
