"""`python -m service`: the checks that deserve one clear sentence, then gunicorn."""

import errno
import gc
import socket
import sys

from model.artifact import Artifact, ArtifactError
from service import serving
from service.runtime.preparation import Preparation
from service.settings import Settings, SettingsError, authority
from service.telemetry import ledger


def main() -> int:
    """Serve until SIGTERM; 2 when the settings, the artifact or the port are not usable."""
    gc.disable()  # imports make no garbage
    try:
        settings = Settings.from_env()
        artifact = Artifact.read(settings.model_dir)
        listener = _bound(settings)
        ledger.mark("python")
        preparation = Preparation(artifact, settings)
        server = serving.server.Server(
            settings, listener
        )  # imports gunicorn, Flask and Pillow, while the libraries load
        ledger.mark("imports")
        preparation.finish()
    except (SettingsError, ArtifactError, OSError) as fault:
        print(fault, file=sys.stderr)
        return 2
    # Objects that exist now stay for good: the worker's garbage collector skips them, so their pages stay shared.
    gc.freeze()
    gc.enable()
    print(f"{artifact.name} on http://{authority(settings.host, settings.port)}", file=sys.stderr)
    try:
        server.run()
    except OSError as fault:  # another process that started at the same moment listened first
        print(f"cannot listen on {authority(settings.host, settings.port)} ({fault.strerror})", file=sys.stderr)
        return 2
    return 0


def _bound(settings: Settings) -> socket.socket:
    """A socket that is bound, and refuses connections until gunicorn listens.

    `::` is every IPv6 and IPv4 address, or every IPv4 address where the kernel has no IPv6. So one image is right for
    every cluster.

    Raises:
        OSError: says what to do; gunicorn itself would try five times and then give up.
    """
    host, family = settings.host, socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listener = socket.socket(family)
    except OSError as fault:
        if fault.errno != errno.EAFNOSUPPORT or host != "::":
            raise OSError(f"cannot listen on {host}: {fault.strerror}") from None
        host, listener = "0.0.0.0", socket.socket()  # noqa: S104 - what HOST asks for
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listener.family == socket.AF_INET6:
            # Otherwise the machine decides (net.ipv6.bindv6only). Addresses of one family are not affected.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((host, settings.port))
    except OSError as fault:
        listener.close()
        raise OSError(
            f"cannot listen on {authority(host, settings.port)} ({fault.strerror}): set PORT to a free port"
        ) from None
    return listener


if __name__ == "__main__":
    sys.exit(main())
