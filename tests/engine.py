"""A separate Docker engine for tests; root starts it from Debian's packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers import debian_program


@contextmanager
def docker_engine(*, hosts: Mapping[str, Path] | None = None) -> Iterator[Path]:
    """Start an engine with its own socket and data, and set the environment of this process; yield its client.

    `hosts` are names that it resolves to this machine, each with the CA certificate that it trusts there.
    """
    if os.geteuid() != 0:
        pytest.skip("only root can start a Docker engine")
    daemon = debian_program("docker.io", "dockerd")
    debian_program("iptables", "iptables")
    folder = Path(tempfile.mkdtemp(prefix="estimator-docker-", dir="/tmp"))
    for name in ("etc", "config"):
        (folder / name).mkdir()
    (folder / "config" / "config.json").write_text("{}")
    lines = [Path("/etc/hosts").read_text()]
    for name, authority in (hosts or {}).items():
        lines.append(f"127.0.0.1 {name}\n")
        (folder / "etc" / "certs.d" / name).mkdir(parents=True)
        shutil.copy(authority, folder / "etc" / "certs.d" / name / "ca.crt")
    (folder / "hosts").write_text("".join(lines))
    address = f"unix://{folder}/docker.sock"
    command = [daemon, "--ip", "127.0.0.1", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec",
             "-p", f"{folder}/pid", "-H", address]  # fmt: skip
    # The engine does not see this machine's /etc/docker.
    script = (
        f"mount --make-rprivate / && mount --bind {folder}/hosts /etc/hosts && "
        f'mount --bind {folder}/etc /etc/docker 2>/dev/null; exec "$@"'
    )
    rules = subprocess.run(["iptables-save"], capture_output=True, check=False).stdout
    forwarding = Path("/proc/sys/net/ipv4/ip_forward")
    forwarded = forwarding.read_text()
    log = (folder / "log").open("wb")
    process = subprocess.Popen(["unshare", "-m", "sh", "-c", script, "sh", *command], stdout=log, stderr=log)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOCKER_HOST", address)
            patch.setenv("DOCKER_CONFIG", str(folder / "config"))
            # The client of Debian builds without the plug-in that others need.
            patch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
            for _ in range(600):
                if subprocess.run(["/usr/bin/docker", "info"], capture_output=True, check=False).returncode == 0:
                    break
                if process.poll() is not None:
                    pytest.skip(f"no Docker engine can run here: {(folder / 'log').read_text()[-300:]}")
                time.sleep(0.1)
            yield Path("/usr/bin/docker")
            containers = subprocess.run(
                ["/usr/bin/docker", "ps", "-aq"], capture_output=True, text=True, check=False
            ).stdout
            if containers.split():
                subprocess.run(["/usr/bin/docker", "rm", "-f", *containers], capture_output=True, check=False)
    finally:
        process.terminate()
        process.wait(60)
        log.close()
        subprocess.run(["iptables-restore"], input=rules, check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", "docker0"], check=False, capture_output=True)
        forwarding.write_text(forwarded)
        shutil.rmtree(folder, ignore_errors=True)
