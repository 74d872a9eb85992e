"""`python -m service`: gunicorn with our settings, after the checks that deserve one clear sentence."""

import socket
import sys
from pathlib import Path

from model.artifact import Artifact, ArtifactError
from service.settings import Settings, SettingsError
from service.telemetry import ledger


def main() -> int:
    """Serve until SIGTERM; 2 when the settings, the artifact or the port are not usable."""
    try:
        settings = Settings.from_env()
        Artifact.read(settings.model_dir)
        _check_port(settings)
    except (SettingsError, ArtifactError, OSError) as fault:
        print(fault, file=sys.stderr)
        return 2
    ledger.mark("python")
    from gunicorn.app.wsgiapp import run

    sys.argv = ["kindling", "--config", str(Path(__file__).parent / "gunicorn.conf.py")]
    print(f"serving on http://{settings.host}:{settings.port}", file=sys.stderr)
    run()
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
