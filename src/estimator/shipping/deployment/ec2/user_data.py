"""What a machine of EC2 does when it starts for the first time: it fetches the image by its digest, and runs it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from string import Template

from estimator.shipping.deployment.base import Release
from estimator.shipping.image.ecr import HOST
from estimator.shipping.image.engines import HARDENED
from estimator.shipping.image.registry import parse_reference

EXPIRY = "/etc/systemd/system/estimator-expiry"


def user_data(
    release: Release, *, region: str, port: int, environment: Mapping[str, str], secrets: Mapping[str, str],
    expires: datetime | None,
) -> str:  # fmt: skip
    """Return the script: nothing in it is secret; `secrets` are names of variables and of SSM's parameters.

    `expires`, in UTC, is when the machine stops itself, also when it has been started again since.
    """
    reference = parse_reference(release.image)
    settings = [f"--env {shlex.quote(f'{name}={value}')}" for name, value in environment.items()]
    settings += [f"--env {name}" for name in secrets]
    registry = HOST.fullmatch(reference.host)
    script = Template(files("estimator.shipping.deployment.ec2").joinpath("user_data.sh").read_text()).substitute(
        model=release.model, version=release.version, image=shlex.quote(release.image), name="estimator",
        login=_login(reference.host, registry["region"]) if registry else "",
        logout=f"docker logout {reference.host}" if registry else "",
        secrets="\n".join(_secret(name, parameter, region) for name, parameter in secrets.items()),
        hardened=" ".join(HARDENED), port=port, inside=release.port, environment=" ".join(settings),
        expiry="" if expires is None else _expiry(expires),
    )  # fmt: skip
    return "".join(f"{line}\n" for line in script.splitlines() if line.strip())


def _login(host: str, region: str) -> str:
    return (
        f"aws ecr get-login-password --region {region} | "
        f"docker login --username AWS --password-stdin {host}"
    )  # fmt: skip


def _secret(name: str, parameter: str, region: str) -> str:
    ask = f"aws ssm get-parameter --region {region} --name {shlex.quote(parameter)} --with-decryption"
    return f"{name}=$({ask} --query Parameter.Value --output text)\nexport {name}"


def _expiry(expires: datetime) -> str:
    """Return what stops the machine at a time that it knows after every start."""
    at = expires.strftime("%Y-%m-%d %H:%M:%S UTC")
    units = {
        "timer": ["[Timer]", f"OnCalendar={at}", "Persistent=true", "[Install]", "WantedBy=timers.target"],
        "service": ["[Service]", "Type=oneshot", "ExecStart=/usr/bin/systemctl poweroff"],
    }
    lines = [f"printf '%s\\n' {' '.join(map(shlex.quote, unit))} > {EXPIRY}.{ending}" for ending, unit in units.items()]
    return "\n".join([*lines, "systemctl daemon-reload", "systemctl enable --now estimator-expiry.timer"])
