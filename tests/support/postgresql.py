"""A private PostgreSQL server, as Debian's package `postgresql` installs it."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg

from tests.support.serving import HOST, free_port

# PostgreSQL does not run as root.
OTHER_USER = "nobody"
SETTINGS = {"fsync": "off", "listen_addresses": HOST, "max_connections": "200"}


def folder() -> Path | None:
    """Where initdb and pg_ctl are; Debian does not put them in the PATH."""
    found = shutil.which("initdb")
    newest = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[4]))
    return Path(found).resolve().parent if found else newest[-1].parent if newest else None


class PostgreSQL:
    """`root` holds all that it writes, its socket among that."""

    def __init__(self, binaries: Path, root: Path) -> None:
        self._binaries = binaries
        self.root = root
        self._is_running = False
        self.port = free_port()
        self._run("initdb", "--auth=trust", "--username=kindling", "--encoding=UTF8", "--locale=C", "--no-sync")

    def start(self, **more: str) -> None:
        """Return once it answers, with these settings, too."""
        settings = {**SETTINGS, **more, "port": str(self.port), "unix_socket_directories": str(self.root)}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", f"--log={self.root}/log", f"--options={options}")
        self._is_running = True

    def stop(self) -> None:
        """At once, as if the machine were switched off; may be called twice."""
        if self._is_running:
            self._run("pg_ctl", "stop", "--wait", "--mode=immediate")
        self._is_running = False

    def database(self) -> str:
        """The URL of a new and empty one."""
        name = f"test_{uuid4().hex}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    @property
    def log(self) -> str:
        return (self.root / "log").read_text()

    def url(self, name: str) -> str:
        return f"postgresql://kindling@{HOST}:{self.port}/{name}"

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, "--pgdata", self.root / "data", *arguments], cwd=self.root, check=False,
            user=OTHER_USER if os.geteuid() == 0 else None, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@contextmanager
def running(binaries: Path) -> Iterator[PostgreSQL]:
    """A server of one's own. Its folder is not pytest's, which nobody but its user may enter."""
    with tempfile.TemporaryDirectory(prefix="kindling-") as root:
        if os.geteuid() == 0:
            shutil.chown(root, OTHER_USER)
        server = PostgreSQL(binaries, Path(root))
        server.start()
        try:
            yield server
        finally:
            server.stop()
