"""EC2 instances on this machine: the instances of moto run their user data and serve their addresses.

A proxy is the network: the first request to an instance boots it, and all requests are forwarded to its server. The
user data runs in bash with fakes of the programs of Amazon Linux; the container is a local server of the version in
its image.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.servers import Cloud, free_port

# Each logs its arguments; those of `docker run` start the server. The token is that of moto's ECR.
FAKE_PROGRAM = """#!/bin/sh
printf '%s\\n' "$(basename "$0") $*" >> "$BOX/log"
case "$(basename "$0") $1 $2" in
  "aws ecr get-login-password") echo 123456789012-auth-token;;
  "aws ssm get-parameter") echo "value of $6";;
  "docker run "*) printf '%s\\n' "$@" > "$BOX/run"; env > "$BOX/env";;
  "docker login "*) cat > "$BOX/password";;
esac
"""
PROGRAMS = ("dnf", "systemctl", "docker", "aws")
# The command line of AWS as far as expiry.sh uses it; `poweroff` does what EC2 does with the instance then.
EC2_PROGRAM = """#!{python}
import sys, boto3
command, options = sys.argv[2], dict(zip(sys.argv[3::2], sys.argv[4::2]))
ec2 = boto3.session.Session(region_name=options.pop("--region"), **{keys}).client("ec2")
if command == "describe-addresses":
    assert options["--query"] == "Addresses[0].[AllocationId,AssociationId]"
    name, values = (part.partition("=")[2] for part in options["--filters"].split(","))
    addresses = ec2.describe_addresses(Filters=[dict(Name=name, Values=[values])])["Addresses"]
    print(*([addresses[0][key] for key in ("AllocationId", "AssociationId")] if addresses else [None]), sep="\\t")
elif command == "disassociate-address":
    ec2.disassociate_address(AssociationId=options["--association-id"])
else:
    ec2.release_address(AllocationId=options["--allocation-id"])
"""
# Names and ports that two instances cannot share on one machine.
UNIQUE = {"--publish 5000:": "--publish {port}:", "--name estimator ": "--name {name} "}


@dataclass
class Instance:
    """A booted instance: the folder with its logs, and its server, None if the image is unknown."""

    folder: Path
    server: subprocess.Popen[bytes] | None = None
    port: int = 0

    @property
    def log(self) -> list[str]:
        """The commands of its user data, in order."""
        return (self.folder / "log").read_text().splitlines()


@dataclass
class Instances:
    """All instances of a cloud; `versions` are the folders of model versions by the digests of their images."""

    cloud: Cloud
    region: str
    versions: Mapping[str, Path]
    booted: dict[str, Instance] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    # Whether containers run in the Docker engine of this process's environment.
    has_engine: bool = False
    # The network of the test, for the rules of security groups.
    client_network: str = "203.0.113.4/32"

    @cached_property
    def client(self) -> Any:
        """A client of EC2 with all permissions, whatever those of the test are."""
        import boto3

        return boto3.session.Session(region_name=self.region, **self.keys).client("ec2")

    _lock: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, host: str, port: int) -> int | None:
        """Return the local port of the server behind an address; None if it is not reachable."""
        ec2 = self.client
        elastic = {item["PublicIp"]: item.get("InstanceId") for item in ec2.describe_addresses()["Addresses"]}
        running = [{"Name": "instance-state-name", "Values": ["running"]}]
        for reservation in ec2.describe_instances(Filters=running)["Reservations"]:
            for instance in reservation["Instances"]:
                own_address = None if host in elastic else instance.get("PublicIpAddress")
                if instance["InstanceId"] == elastic.get(host, "") or own_address == host:
                    return self._local_port(instance, port, ec2)
        return None

    def _local_port(self, instance: dict[str, Any], port: int, ec2: Any) -> int | None:
        groups = [group["GroupId"] for group in instance["SecurityGroups"]]
        rules = [
            (rule["FromPort"], network["CidrIp"])
            for group in ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]
            for rule in group["IpPermissions"]
            for network in rule["IpRanges"]
        ]
        if not {(port, self.client_network), (port, "0.0.0.0/0")} & set(rules):
            return None
        with self._lock:
            instance_id = instance["InstanceId"]
            if instance_id not in self.booted:
                attribute = ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
                self.booted[instance_id] = self._boot(base64.b64decode(attribute["UserData"]["Value"]).decode())
            return self.booted[instance_id].port or None

    def _boot(self, script: str) -> Instance:
        folder = Path(tempfile.mkdtemp(prefix="estimator-instance-"))
        programs = folder / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            if name != "docker" or not self.has_engine:
                (programs / name).write_text(FAKE_PROGRAM)
                (programs / name).chmod(0o755)
        # The systemd units of this machine stay as they are.
        script = script.replace("/etc/systemd/system/", f"{folder}/")
        port = free_port()
        if self.has_engine:
            for option, unique_option in UNIQUE.items():
                assert option in script
                script = script.replace(option, unique_option.format(port=port, name=folder.name))
        (folder / "user-data").write_text(script)
        environment = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
        done = subprocess.run(
            ["bash", folder / "user-data"],
            capture_output=True,
            text=True,
            check=False,
            env={"PATH": f"{programs}:/usr/bin:/bin", "BOX": str(folder), **environment},
        )
        assert done.returncode == 0, done.stderr
        return Instance(folder, port=port) if self.has_engine else self._serve(folder, port)

    def _serve(self, folder: Path, port: int) -> Instance:
        """Start the server that the arguments of `docker run` describe."""
        arguments = (folder / "run").read_text().splitlines()
        digest = arguments[-1].rpartition("@")[2]
        variables = [value for option, value in pairwise(arguments) if option == "--env"]
        exported = dict(line.partition("=")[::2] for line in (folder / "env").read_text().splitlines())
        environment = {}
        for variable in variables:
            name, _, value = variable.partition("=")
            environment[name] = value or exported.get(name, "")
        if digest not in self.versions:
            return Instance(folder)
        with (folder / "errors").open("wb") as errors:
            server = subprocess.Popen(
                [sys.executable, "-m", "estimator", "serve", "--port", str(port)],
                env={**os.environ, **environment, "MODEL_FOLDER": str(self.versions[digest])},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        return Instance(folder, server, port)

    def expire(self, instance_id: str) -> None:
        """Run what the timer of an instance runs, and end the instance as EC2 does when it powers off."""
        folder = self.booted[instance_id].folder
        (folder / "instance-id").write_text(instance_id)
        (folder / "bin" / "aws").write_text(EC2_PROGRAM.format(python=sys.executable, keys=self.keys))
        unit = (folder / "estimator-expiry.service").read_text()
        program, script, *arguments = re.search(r"ExecStart=(.*)", unit)[1].split()  # type: ignore[index] # it has one
        text = Path(script).read_text().replace("/var/lib/cloud/data/", f"{folder}/")
        Path(script).write_text(text)
        environment = {**os.environ, "PATH": f"{folder}/bin:/usr/bin:/bin", "BOX": str(folder)}
        subprocess.run([program, script, *arguments], check=True, env=environment)
        assert self.booted[instance_id].log[-1] == "systemctl poweroff"
        name = "instanceInitiatedShutdownBehavior"
        attribute = self.client.describe_instance_attribute(InstanceId=instance_id, Attribute=name)
        behavior = attribute["InstanceInitiatedShutdownBehavior"]["Value"]
        getattr(self.client, f"{behavior}_instances")(InstanceIds=[instance_id])

    def kill_all(self) -> None:
        """Kill all servers."""
        for instance in self.booted.values():
            if instance.server is not None:
                instance.server.kill()
                instance.server.wait()


@contextmanager
def instances(
    cloud: Cloud, region: str, versions: Mapping[str, Path], *, has_engine: bool = False
) -> Iterator[Instances]:
    """Serve the addresses of a cloud while the context is open, through a proxy in the environment."""
    network = Instances(cloud, region, versions, keys=_admin_keys(cloud), has_engine=has_engine)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(network))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
            patch.setenv("no_proxy", "127.0.0.1,localhost")
            # urllib reads the environment only once.
            patch.setattr(urllib.request, "_opener", None)
            yield network
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        network.kill_all()


def _admin_keys(cloud: Cloud) -> dict[str, str]:
    """Return access keys of a user with all permissions."""
    iam = cloud.client("iam")
    iam.create_user(UserName="network")
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    iam.put_user_policy(UserName="network", PolicyName="all", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName="network")["AccessKey"]
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def _handler(network: Instances) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match = re.fullmatch(r"http://([^/:]+):(\d+)(/.*)", self.path)
            assert match is not None
            host, remote_port, path = match.groups()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            port = network.reach(host, int(remote_port))
            if port is None:
                self.respond(502, b"{}")
                return
            headers = {
                name: value for name, value in self.headers.items() if name.lower() in ("content-type", "x-api-key")
            }
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    self.respond(response.status, response.read())
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
    """Add images to ECR by their digests, as if they had been pushed."""
    ecr = cloud.client("ecr", region)
    ecr.create_repository(repositoryName=repository)
    for number, digest in enumerate(digests):
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest, "size": number},
            "layers": [],
        }
        ecr.put_image(
            repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=f"v{number}", imageDigest=digest
        )
