"""The section `engine` of a config: where folds, members and other independent work run."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from estimator.config.section import Section, Text
from estimator.errors import ConfigError

RAY_ADDRESS = re.compile(r"(ray://)?(\[[0-9a-fA-F:.]+\]|[^\s:/@\[\]]+):\d{1,5}")
EXPECTED = "local, ray, or the address of a Ray cluster, such as ray://head:10001"


class EngineChoice(Section):
    """Where independent work runs: the fits of folds and of an ensemble's members."""

    kind: str = Field(
        "local",
        description="local (threads of this process) or ray (tasks of a Ray cluster; the extra `ray`); every engine "
        "makes the same version",
    )
    address: Text | None = Field(
        None,
        description="kind ray: the cluster to join, as ray://host:10001, or as host:6379 from one of its nodes; when "
        "left out, a private cluster of this machine, which ends with the command",
    )
    workers: Annotated[int, Field(ge=1)] | None = Field(
        None, description="fits that run at once; one per processor, of the machine or cluster, when left out"
    )

    @field_validator("address")
    @classmethod
    def _is_of_its_kind(cls, address: str | None, info: ValidationInfo) -> str | None:
        kind = info.data.get("kind")
        if kind == "local" and address is not None:
            raise ValueError("is for kind ray: kind local is this process")
        if kind == "ray" and address is not None and not RAY_ADDRESS.fullmatch(address):
            raise ValueError(f"expected ray://host:10001 or host:6379, got {address!r}")
        return address

    @classmethod
    def of(cls, text: str, place: str) -> EngineChoice:
        """Return the choice that a command's option or a variable, the `place`, names in one word.

        >>> EngineChoice.of("ray://head:10001", "--engine").address
        'ray://head:10001'

        Raises
        ------
        ConfigError: it is neither a name nor an address.
        """
        if RAY_ADDRESS.fullmatch(text):
            return cls(kind="ray", address=text)
        if not text.isidentifier():
            raise ConfigError(f"{place}: expected {EXPECTED}, got {text!r}")
        return cls(kind=text)

    def __str__(self) -> str:
        at = "" if self.address is None else f" at {self.address}"
        bound = "" if self.workers is None else f", at most {self.workers} at once"
        return f"{self.kind}{at}{bound}"
