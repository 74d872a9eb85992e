"""A private PgBouncer in front of a PostgreSQL server, as Debian's package `pgbouncer` installs it."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.support.eventually import eventually
from tests.support.postgresql import OTHER_USER, PostgreSQL
from tests.support.serving import HOST, START_S, STOP_S, free_port

# Transactions of all clients share two connections to each database, in turn: what one leaves behind, another one finds,
# and what it wants to find is not there. A database that no test uses any more soon has none.
SETTINGS = {
    "pool_mode": "transaction", "default_pool_size": "2", "server_round_robin": "1", "max_client_conn": "200",
    "server_idle_timeout": "2", "server_login_retry": "1", "query_wait_timeout": "10",
}  # fmt: skip


def program() -> Path | None:
    """Debian's is in a folder that only root has in the PATH."""
    found = shutil.which("pgbouncer", path=os.pathsep.join((os.environ["PATH"], "/usr/sbin")))
    return Path(found) if found else None


class PgBouncer:
    """Where the databases of `server` are, by the same names."""

    def __init__(self, server: PostgreSQL, port: int) -> None:
        self._server = server
        self.port = port

    def url(self, database: str) -> str:
        """Of a database whose own URL is this one."""
        return database.replace(f":{self._server.port}/", f":{self.port}/")

    def database(self) -> str:
        """The URL of a new and empty one."""
        return self.url(self._server.database())

    @property
    def console(self) -> str:
        """The URL of its own database, for who administers it."""
        return f"postgresql://kindling@{HOST}:{self.port}/pgbouncer"

    def answers(self) -> bool:
        with closing(socket.socket()) as probe:
            return probe.connect_ex((HOST, self.port)) == 0


@contextmanager
def running(binary: Path, server: PostgreSQL, **more: str) -> Iterator[PgBouncer]:
    """One of one's own, with these settings, too."""
    found = PgBouncer(server, free_port())
    with tempfile.TemporaryDirectory(prefix="kindling-") as folder:
        root = Path(folder)
        _configure(root, found.port, server.port, more)
        # It refuses to run as root.
        user = OTHER_USER if os.geteuid() == 0 else None
        if user is not None:
            for path in (root, *root.iterdir()):
                shutil.chown(path, user)
        process = subprocess.Popen([binary, "--quiet", root / "pgbouncer.ini"], user=user, stderr=subprocess.DEVNULL)
        try:
            eventually(found.answers, START_S, "PgBouncer answers")
            yield found
        finally:
            process.terminate()
            process.wait(STOP_S)


def _configure(root: Path, port: int, server_port: int, more: dict[str, str]) -> None:
    users = root / "users.txt"
    users.write_text('"kindling" ""\n')
    own = {
        "listen_addr": HOST,
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "trust",
        "admin_users": "kindling",
    }
    settings = {**SETTINGS, **more, **own, "auth_file": str(users), "logfile": str(root / "log")}
    lines = [f"{name} = {value}" for name, value in settings.items()]
    databases = f"[databases]\n* = host={HOST} port={server_port}\n"
    (root / "pgbouncer.ini").write_text("\n".join([databases, "[pgbouncer]", *lines, ""]))
