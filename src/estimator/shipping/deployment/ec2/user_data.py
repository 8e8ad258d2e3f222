"""The user data of an EC2 instance: a script that pulls and runs the image at first boot."""

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

EXPIRY_UNIT = "/etc/systemd/system/estimator-expiry"


def user_data(
    release: Release,
    *,
    region: str,
    port: int,
    environment: Mapping[str, str],
    secrets: Mapping[str, str],
    expires: datetime | None,
) -> str:
    """Return the script; it has no secrets, as `secrets` are environment variables -> SSM parameters.

    `expires`, in UTC, is when the instance releases its address and terminates itself, also after later starts.
    """
    reference = parse_reference(release.image)
    variables = [f"--env {shlex.quote(f'{name}={value}')}" for name, value in environment.items()]
    variables += [f"--env {name}" for name in secrets]
    ecr_host = HOST.fullmatch(reference.host)
    template = Template(files("estimator.shipping.deployment.ec2").joinpath("user_data.sh").read_text())
    script = template.substitute(
        model=release.model,
        version=release.version,
        image=shlex.quote(release.image),
        name="estimator",
        login=_login(reference.host, ecr_host["region"]) if ecr_host else "",
        logout=f"docker logout {reference.host}" if ecr_host else "",
        secrets="\n".join(_secret(name, parameter, region) for name, parameter in secrets.items()),
        hardened=" ".join(HARDENED),
        port=port,
        container_port=release.port,
        environment=" ".join(variables),
        expiry="" if expires is None else _expiry(expires, region),
    )
    return "".join(f"{line}\n" for line in script.splitlines() if line.strip())


def _login(host: str, region: str) -> str:
    return f"aws ecr get-login-password --region {region} | docker login --username AWS --password-stdin {host}"


def _secret(name: str, parameter: str, region: str) -> str:
    command = f"aws ssm get-parameter --region {region} --name {shlex.quote(parameter)} --with-decryption"
    return f"{name}=$({command} --query Parameter.Value --output text)\nexport {name}"


def _expiry(expires: datetime, region: str) -> str:
    """Return commands that install a systemd timer, which runs expiry.sh at a time, also if it passed while stopped."""
    at = expires.strftime("%Y-%m-%d %H:%M:%S UTC")
    units = {
        "sh": files("estimator.shipping.deployment.ec2").joinpath("expiry.sh").read_text().splitlines(),
        "timer": ["[Timer]", f"OnCalendar={at}", "Persistent=true", "[Install]", "WantedBy=timers.target"],
        "service": [
            "[Unit]", "Wants=network-online.target", "After=network-online.target",
            "[Service]", "Type=oneshot", f"ExecStart=/bin/bash {EXPIRY_UNIT}.sh {region}",
        ],
    }  # fmt: skip
    lines = [
        f"printf '%s\\n' {' '.join(map(shlex.quote, unit))} > {EXPIRY_UNIT}.{suffix}" for suffix, unit in units.items()
    ]
    return "\n".join([*lines, "systemctl daemon-reload", "systemctl enable --now estimator-expiry.timer"])
