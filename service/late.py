"""Late imports: a file of a room is imported when it is first named, so that readiness need not wait for it.

    from service import events      # imports nothing of that room
    events.codec.decode(...)        # imports service/events/codec.py, the first time

Each room has `__getattr__ = files_of(__name__)` in its __init__ (PEP 562), and names its files there for mypy.
"""

import importlib
from collections.abc import Callable
from types import ModuleType


def files_of(room: str) -> Callable[[str], ModuleType]:
    """A module's `__getattr__` that imports the room's files; called by any number of threads at once."""

    def file(name: str) -> ModuleType:
        module = f"{room}.{name}"
        try:
            # The import sets the file as an attribute of the room, so the next access does not come here.
            return importlib.import_module(module)
        except ModuleNotFoundError as fault:
            if fault.name != module:
                raise
            raise AttributeError(f"module {room!r} has no attribute {name!r}") from None

    return file
