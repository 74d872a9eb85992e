"""A database whose server must prove who it is, as docs/production.md asks for."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.jobs.database import Database
from service.jobs.schema import StoreError
from tests.support import postgresql as postgres
from tests.support.postgresql import OTHER_USER
from tests.support.serving import HOST


@dataclass(frozen=True)
class Certified:
    """A server, and the certificate that it has signed itself."""

    url: str
    certificate: Path


@pytest.fixture(scope="module")
def certified(postgresql_binaries: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    certificate = tmp_path_factory.mktemp("tls") / "certificate.pem"
    with postgres.running(postgresql_binaries) as server:
        key = server.root / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
             "-subj", "/CN=database", "-addext", f"subjectAltName=IP:{HOST}", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        shown = Path(shutil.copy(certificate, server.root))
        for file in (key, shown):
            file.chmod(0o600)
            if os.geteuid() == 0:
                shutil.chown(file, OTHER_USER)
        server.stop()
        server.start(ssl="on", ssl_key_file=str(key), ssl_cert_file=str(shown))
        yield Certified(server.database(), certificate)


def test_who_has_the_certificate_is_let_in(certified: Certified) -> None:
    Database(f"{certified.url}?sslmode=verify-full&sslrootcert={certified.certificate}").close()


@pytest.mark.parametrize("authorities", ["", "&sslrootcert=/etc/ssl/certs/ca-certificates.crt"])
def test_a_server_that_nobody_vouches_for_is_one_sentence(
    certified: Certified, authorities: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(StoreError, match="certificate") as fault:
        Database(f"{certified.url}?sslmode=verify-full{authorities}")
    assert "\n" not in str(fault.value)


def test_a_server_of_another_name_is_one_sentence(certified: Certified) -> None:
    elsewhere = certified.url.replace(HOST, "localhost")
    with pytest.raises(StoreError, match="localhost"):
        Database(f"{elsewhere}?sslmode=verify-full&sslrootcert={certified.certificate}")
