"""Where an installed package is, without importing it."""

import importlib.util
from pathlib import Path


def folder(package: str) -> Path | None:
    """The package's folder, or None where it is not installed."""
    found = importlib.util.find_spec(package)
    return Path(found.origin).parent if found and found.origin else None
