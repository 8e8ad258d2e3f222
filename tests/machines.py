"""Machines of EC2, played on this one: what moto starts really runs its user data, and its addresses really answer.

A proxy stands for the network: a request to a machine's address starts it, as its first boot would, and is handed on.
The script runs in bash; the programs that only Amazon Linux has are stood in for, and the container is a server of the
version that its image holds.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Cloud, free_port

# Each says what it was called with; docker's `run` is what the machine then does. The token is that of moto's ECR.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$BOX/log"
case "$(basename "$0") $1 $2" in
  "aws ecr get-login-password") echo 123456789012-auth-token;;
  "aws ssm get-parameter") echo "value of $6";;
  "docker run "*) printf '%s\\n' "$@" > "$BOX/run"; env > "$BOX/env";;
  "docker login "*) cat > "$BOX/password";;
esac
"""
PROGRAMS = ("dnf", "systemctl", "docker", "aws")
# The part of a machine that two of them cannot have on one.
APART = {"--publish 5000:": "--publish {port}:", "--name estimator ": "--name {name} "}


@dataclass
class Machine:
    """One that has been started: the folder of what it did, and the server it runs, None when that failed."""

    folder: Path
    server: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def log(self) -> list[str]:
        """The programs that its user data called, in order."""
        return (self.folder / "log").read_text().splitlines()


@dataclass
class Machines:
    """All machines of a cloud; `versions` are the folders of the versions that images hold, by digest."""

    cloud: Cloud
    region: str
    versions: dict[str, Path]
    started: dict[str, Machine] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    # Whether a Docker engine that this process is pointed at runs the containers.
    has_engine: bool = False
    # Where the test asks from, as the rules of a security group see it.
    asked_from: str = "203.0.113.4/32"

    @cached_property
    def client(self) -> Any:
        """EC2 as seen by a user who may do everything, whoever the test is."""
        import boto3

        return boto3.session.Session(region_name=self.region, **self.keys).client("ec2")

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, host: str, port: int) -> int | None:
        """Return the port of this machine at which the server behind an address answers; None for none."""
        ec2 = self.client
        fixed = {each["PublicIp"]: each.get("InstanceId") for each in ec2.describe_addresses()["Addresses"]}
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        found = [
            each for group in ec2.describe_instances(Filters=running)["Reservations"] for each in group["Instances"]
        ]
        for each in found:
            if each["InstanceId"] == fixed.get(host, "") or (host not in fixed and each.get("PublicIpAddress") == host):
                return self._answering(each, port, ec2)
        return None

    def _answering(self, instance: dict[str, Any], port: int, ec2: Any) -> int | None:
        groups = [group["GroupId"] for group in instance["SecurityGroups"]]
        rules = [
            (rule["FromPort"], network["CidrIp"])
            for group in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
            for rule in group["IpPermissions"]
            for network in rule["IpRanges"]
        ]
        if not {(port, self.asked_from), (port, "0.0.0.0/0")} & set(rules):
            return None
        with self._lock:
            named = instance["InstanceId"]
            if named not in self.started:
                told = ec2.describe_instance_attribute(InstanceId=named, Attribute="userData")["UserData"]["Value"]
                self.started[named] = self._boot(base64.b64decode(told).decode())
            return self.started[named].port or None

    def _boot(self, script: str) -> Machine:
        folder = Path(tempfile.mkdtemp(prefix="estimator-machine-"))
        programs = folder / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            if name != "docker" or not self.has_engine:
                (programs / name).write_text(STAND_IN)
                (programs / name).chmod(0o755)
        # Units are written into the box and not into this machine.
        script = script.replace("/etc/systemd/system/", f"{folder}/")
        port = free_port()
        if self.has_engine:
            for words, own in APART.items():
                assert words in script
                script = script.replace(words, own.format(port=port, name=folder.name))
        (folder / "user-data").write_text(script)
        environment = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
        done = subprocess.run(
            ["bash", folder / "user-data"], capture_output=True, text=True, check=False,
            env={"PATH": f"{programs}:/usr/bin:/bin", "BOX": str(folder), **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return Machine(folder, port=port) if self.has_engine else self._serving(folder, port)

    def _serving(self, folder: Path, port: int) -> Machine:
        words = (folder / "run").read_text().splitlines()
        digest = words[-1].rpartition("@")[2]
        settings = [words[place + 1] for place, word in enumerate(words) if word == "--env"]
        known = dict(line.partition("=")[::2] for line in (folder / "env").read_text().splitlines())
        environment = {each.partition("=")[0]: each.partition("=")[2] or known.get(each, "") for each in settings}
        if digest not in self.versions:
            return Machine(folder)
        with (folder / "errors").open("wb") as errors:
            server = subprocess.Popen(
                [sys.executable, "-m", "estimator", "serve", "--port", str(port)],
                env={**os.environ, **environment, "MODEL_FOLDER": str(self.versions[digest])},
                stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        return Machine(folder, server, port)

    def end(self) -> None:
        """End all servers."""
        for machine in self.started.values():
            if machine.server is not None:
                machine.server.kill()
                machine.server.wait()


@contextmanager
def machines(cloud: Cloud, region: str, versions: dict[str, Path], *, has_engine: bool = False) -> Iterator[Machines]:
    """Let the addresses of a cloud answer, for a block, through a proxy that the environment names."""
    found = Machines(cloud, region, versions, keys=_keys(cloud), has_engine=has_engine)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(found))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
            patch.setenv("no_proxy", "127.0.0.1,localhost")
            # urllib reads the environment once only.
            patch.setattr(urllib.request, "_opener", None)
            yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        found.end()


def _keys(cloud: Cloud) -> dict[str, str]:
    """Return keys of a user who may do everything."""
    iam = cloud.client("iam")
    iam.create_user(UserName="network")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="network", PolicyName="all", PolicyDocument=json.dumps(policy))
    made = iam.create_access_key(UserName="network")["AccessKey"]
    return {"aws_access_key_id": made["AccessKeyId"], "aws_secret_access_key": made["SecretAccessKey"]}


def _handler(network: Machines) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = re.fullmatch(r"http://([^/:]+):(\d+)(/.*)", self.path)
            assert asked is not None
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            port = network.reach(asked[1], int(asked[2]))
            if port is None:
                self.respond(502, b"{}")
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() in ("content-type", "x-api-key")
            }
            request = urllib.request.Request(f"http://127.0.0.1:{port}{asked[3]}", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    self.respond(answer.status, answer.read())
            except urllib.error.HTTPError as error:
                with error:
                    self.respond(error.code, error.read())
            except OSError:
                self.respond(502, b"{}")

        do_POST = do_GET

        def respond(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return None

    return Handler


def known_to_ecr(cloud: Cloud, region: str, repository: str, digests: list[str]) -> None:
    """Let ECR know images by their digests, as if they had been pushed."""
    ecr = cloud.client("ecr", region)
    ecr.create_repository(repositoryName=repository)
    for place, digest in enumerate(digests):
        manifest = {
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": place},
            "layers": [],
        }  # fmt: skip
        ecr.put_image(
            repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=f"v{place}", imageDigest=digest
        )
