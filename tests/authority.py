"""A certificate authority of our own, by the openssl command, that can also date back."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

OPENSSL = shutil.which("openssl")
_CONFIG = """
[ca]
default_ca = ours
[ours]
new_certs_dir = {home}
database = {home}/index.txt
rand_serial = yes
default_md = sha256
policy = any
copy_extensions = copy
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = name
[name]
"""


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Lives in a directory of its own."""

    home: Path

    @property
    def cert(self) -> Path:
        return self.home / "ca.crt"

    def create(self) -> Authority:
        self.home.mkdir()
        (self.home / "index.txt").write_text("")
        (self.home / "ca.conf").write_text(_CONFIG.format(home=self.home))
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-subj", "/CN=a plant", "-days", "365", "-config", self.home / "ca.conf"),
            *("-addext", "basicConstraints=critical,CA:TRUE"),
            *("-keyout", self.home / "ca.key", "-out", self.cert),
        )
        return self

    def issue(self, name: str, *, days: float = 365.0) -> Certificate:
        """A certificate for 127.0.0.1 that ends in ``days`` from now: negative, in the past."""
        made = Certificate(self.home / f"{name}.crt", self.home / f"{name}.key")
        request = self.home / f"{name}.csr"
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-subj", f"/CN={name}", "-config", self.home / "ca.conf"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", made.key, "-out", request),
        )
        end = datetime.now(timezone.utc) + timedelta(days=days)
        dates = [f"{moment:%Y%m%d%H%M%SZ}" for moment in (end - timedelta(days=400), end)]
        _openssl(
            *("ca", "-batch", "-notext", "-config", self.home / "ca.conf", "-in", request),
            *("-startdate", dates[0], "-enddate", dates[1]),
            *("-cert", self.cert, "-keyfile", self.home / "ca.key", "-out", made.cert),
        )
        return made


def _openssl(*arguments: object) -> None:
    assert OPENSSL is not None
    done = subprocess.run([OPENSSL, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
