"""`knative/ready` while it runs: what it has said, and how it ends."""

import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from tests.support.eventually import eventually
from tests.support.manifests import KNATIVE

# On a machine that does other things meanwhile.
SAID_S, ENDED_S = 30.0, 200.0


class Ready:
    def __init__(self, *arguments: str, environ: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [KNATIVE / "ready", *arguments], env={**os.environ, **environ},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def said(self) -> str:
        return "\n".join(self.lines)

    def says(self, words: str) -> None:
        """Return once it has said this."""
        with suppress(AssertionError):
            eventually(lambda: words in self.said, SAID_S)
        assert words in self.said

    def ends(self) -> int:
        status = self._process.wait(ENDED_S)
        self._reader.join()
        return status

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as said:
            for line in said:
                self.lines.append(line.rstrip("\n"))


@contextmanager
def running(*arguments: str, environ: Mapping[str, str] | None = None) -> Iterator[Ready]:
    ready = Ready(*arguments, environ=environ or {})
    try:
        yield ready
    finally:
        ready.stop()
