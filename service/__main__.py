"""`python -m service`: the checks that deserve one clear sentence, then gunicorn."""

import gc
import socket
import sys

from model.artifact import Artifact, ArtifactError
from service import web
from service.runtime.preparation import Preparation
from service.settings import Settings, SettingsError
from service.telemetry import ledger


def main() -> int:
    """Serve until SIGTERM; 2 when the settings, the artifact or the port are not usable."""
    gc.disable()  # imports make no garbage
    try:
        settings = Settings.from_env()
        artifact = Artifact.read(settings.model_dir)
        _check_port(settings)
        ledger.mark("python")
        preparation = Preparation(artifact, settings)
        server = web.server.Server(settings)  # imports gunicorn, Flask and Pillow, while the libraries load
        ledger.mark("imports")
        preparation.finish()
    except (SettingsError, ArtifactError, OSError) as fault:
        print(fault, file=sys.stderr)
        return 2
    # What is there now stays: the worker's collections pass it over, and leave the pages that it shares with us alone.
    gc.freeze()
    gc.enable()
    print(f"{artifact.name} on http://{settings.host}:{settings.port}", file=sys.stderr)
    server.run()
    return 0


def _check_port(settings: Settings) -> None:
    """Raise OSError with the remedy, where gunicorn would try five times and then give up."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as fault:
            raise OSError(
                f"cannot listen on {settings.host}:{settings.port} ({fault.strerror}): set PORT to a free port"
            ) from None


if __name__ == "__main__":
    sys.exit(main())
