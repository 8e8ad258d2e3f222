"""Real servers on this machine for the tests of sources, and how to read from them: PostgreSQL, S3 and HTTP."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from estimator.data.sources.base import ReadOptions
from estimator.data.sources.opener import open_source

PASSWORD = "p/w:p@ss %?&#9"
OURS = "an authority of tests"


def rows(path: str, query: str | None = None, *, folder: Path = Path(), kind: str | None = None, **environment: str):
    with open_source(path, ReadOptions(kind=kind), query=query, folder=folder, environment=environment) as source:
        return source.frame()


@dataclass(frozen=True)
class PostgreSQL:
    """A running server; `address` names the password by ${PGPASSWORD}."""

    programs: Path
    port: int

    @property
    def address(self) -> str:
        return f"postgresql://me:${{PGPASSWORD}}@127.0.0.1:{self.port}/postgres"

    def run(self, statements: str) -> None:
        options = [
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-U",
            "me",
            "-v",
            "ON_ERROR_STOP=1",
            "-qc",
            statements,
            "postgres",
        ]
        subprocess.run([self.programs / "psql", *options], check=True, env=os.environ | {"PGPASSWORD": PASSWORD})


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Start an empty server from Debian's programs, which do not run as root."""
    initdbs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not initdbs:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    as_user: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    # pytest's own folders are closed to other users.
    folder = Path(tempfile.mkdtemp(prefix="estimator-postgresql-", dir="/tmp"))
    server = PostgreSQL(initdbs[-1].parent, free_port())
    try:
        (folder / "password").write_text(PASSWORD)
        if as_user:
            for path in (folder, folder / "password"):
                shutil.chown(path, "postgres", "postgres")
        control = [server.programs / "pg_ctl", "-D", folder / "data", "-l", folder / "log"]
        options_of_initdb = [
            "-D",
            folder / "data",
            "-U",
            "me",
            "-A",
            "scram-sha-256",
            "--pwfile",
            folder / "password",
            "--no-sync",
        ]
        options = f"-p {server.port} -c fsync=off -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
        quiet: dict[str, Any] = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder, **as_user}
        subprocess.run([initdbs[-1], *options_of_initdb], **quiet)
        subprocess.run([*control, "-o", options, "-w", "start"], **quiet)
        try:
            yield server
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Cloud:
    """AWS as moto plays it, over HTTP; boto3's environment points at it."""

    address: str

    def client(self, service: str, region: str = "us-east-1") -> Any:
        import boto3

        return boto3.session.Session().client(service, region_name=region)

    @contextmanager
    def only_allowed(self, actions: list[str]) -> Iterator[None]:
        """Be a user who may do nothing but these actions."""
        iam, name = self.client("iam"), f"narrow-{secrets.token_hex(4)}"
        iam.create_user(UserName=name)
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}
        iam.put_user_policy(UserName=name, PolicyName="narrow", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        self._enforce_after(0)
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
                patch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
                yield
        finally:
            self._enforce_after(1_000_000)

    def _enforce_after(self, n_requests: int) -> None:
        request = urllib.request.Request(
            f"{self.address}/moto-api/reset-auth", str(n_requests).encode(), {"content-type": "text/plain"}
        )
        urllib.request.urlopen(request, timeout=60).close()


class OneAtATime:
    """A WSGI app that handles one request at a time: S3 checks a condition and writes in one step, unlike moto."""

    def __init__(self, app: Any) -> None:
        self._app, self._lock = app, threading.Lock()

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        with self._lock:
            return list(self._app(environ, start_response))


@contextmanager
def aws(*, one_at_a_time: bool = False) -> Iterator[Cloud]:
    """Start an empty AWS and point boto3's environment at it."""
    pytest.importorskip("boto3")
    moto = pytest.importorskip("moto.server")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    if one_at_a_time:
        server._server.app = OneAtATime(server._server.app)
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        urllib.request.urlopen(urllib.request.Request(f"{address}/moto-api/reset", method="POST"), timeout=60).close()
        try:
            yield Cloud(address)
        finally:
            server.stop()


@contextmanager
def s3(bucket: str) -> Iterator[Any]:
    """Start an S3 with an empty bucket, point boto3's environment at it, and give a client."""
    with aws(one_at_a_time=True) as cloud:
        client = cloud.client("s3")
        client.create_bucket(Bucket=bucket)
        try:
            yield client
        finally:
            client.close()


def debian_program(package: str, program: str) -> str:
    """Return the path of a program of Debian, which root installs when it is missing; skip where it cannot be."""
    path = shutil.which(program)
    if path is None and os.geteuid() == 0 and shutil.which("apt-get"):
        # Tests in several processes install one after another.
        install = [
            "apt-get",
            "-o",
            "DPkg::Lock::Timeout=120",
            "install",
            "-y",
            "-qq",
            "--no-install-recommends",
            package,
        ]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for before in ([], [["apt-get", "-qq", "update"]]):
            for command in (*before, install):
                subprocess.run(command, check=False, capture_output=True, env=environment)
            if (path := shutil.which(program)) is not None:
                break
    if path is None:
        pytest.skip(f"{program} is not installed: apt-get install {package}")
    return path


@contextmanager
def docker_registry(
    *, user: str | None = None, password: str = "", tls: tuple[Path, Path] | None = None
) -> Iterator[str]:
    """Start Debian's registry of images, empty, on this machine alone; give its host and port.

    With a certificate and its key it speaks TLS, at the port that this has by default.
    """
    program = debian_program("docker-registry", "docker-registry")
    folder = Path(tempfile.mkdtemp(prefix="estimator-registry-"))
    host = f"127.0.0.1:{free_port() if tls is None else 443}"
    auth = ""
    tls_section = "" if tls is None else f", tls: {{certificate: {tls[0]}, key: {tls[1]}}}"
    if user is not None:
        bcrypt = pytest.importorskip("bcrypt")
        password_hash = bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode()
        (folder / "htpasswd").write_text(f"{user}:{password_hash}\n")
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}\n"
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '{host}'{tls_section}}}\n{auth}"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", folder / "config.yml"], stdout=log, stderr=log)
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", int(host.partition(":")[2]))) == 0:
                        break
                time.sleep(0.05)
            yield host
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Web:
    """An HTTP server: its pages and the paths requested; a page named short or chunks is cut off."""

    port: int = 0
    pages: dict[str, bytes] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    requested: list[str] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serve() -> Iterator[Web]:
    """Start an HTTP server."""
    web = Web(moved={"/to-file.csv": "file:///etc/passwd", "/to-ftp.csv": "ftp://127.0.0.1/x.csv"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(web))
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        web.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(web: Web) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            web.requested.append(self.path)
            web.users += filter(None, [self.headers["Authorization"]])
            self.close_connection = True
            if path == "/silent.csv":
                web.ended.wait(5)
            elif path in web.moved:
                self.respond(302, b"", Location=web.moved[path])
            elif path == "/login.csv":
                self.respond(200, b"<html>", **{"Content-Type": "text/html; charset=utf-8"})
            elif path in web.pages:
                self.page(path, web.pages[path])
            else:
                self.respond(403 if "forbidden" in path else 404, b"")

        def page(self, path: str, content: bytes) -> None:
            if "chunks" in path:
                self.respond(
                    200, b"%x\r\n%s" % (len(content), content[:-9]), length=None, **{"Transfer-Encoding": "chunked"}
                )
            else:
                self.respond(200, content[:-9] if "short" in path else content, length=len(content))

        def respond(self, code: int, content: bytes, *, length: int | None = 0, **headers: str) -> None:
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            if length is not None:
                self.send_header("Content-Length", str(length or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            return None

    return Handler


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def write_certificates(name: str, folder: Path) -> tuple[Path, Path, Path]:
    """Write the certificate of an authority of our own, and one for a host with its key."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def made(subject: str, issuer: str, key: Any, by: Any, *extensions: x509.ExtensionType) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(named(subject)).issuer_name(named(issuer)).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )  # fmt: skip
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(by, hashes.SHA256())

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text[:64])])

    authority, host_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    parts = {
        "ca.crt": made(
            "a test's authority", "a test's authority", authority, authority, x509.BasicConstraints(True, None)
        ),
        "host.crt": made(
            name, "a test's authority", host_key, authority, x509.SubjectAlternativeName([x509.DNSName(name)])
        ),
    }
    for file, certificate in parts.items():
        (folder / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "host.key").write_bytes(
        host_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "ca.crt", folder / "host.crt", folder / "host.key"
