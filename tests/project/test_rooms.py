"""Who may import whom. A request walks down through the rooms and back up; nothing below knows what is above."""

import ast
import importlib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.serving import ROOT

GROUND = {"settings", "reading", "keys", "errors", "telemetry", "late", "artifact"}
MAY_IMPORT = {
    "artifact": set(),
    "errors": set(),
    "late": set(),
    "reading": set(),
    "keys": set(),
    "settings": {"reading", "keys"},
    "telemetry": set(),
    "protocol": {"errors", "late", "artifact"},
    "runtime": {"protocol", *GROUND},
    "call": {"protocol", "runtime", *GROUND},
    "events": {"call", *GROUND},
    "jobs": {"events", "call", "runtime", *GROUND},
    "web": {"jobs", "events", "call", "runtime", "protocol", *GROUND},
    "serving": {"web", *GROUND},
    "cloud": {"web", "events", "runtime", "protocol", *GROUND},
    "__main__": {"serving", "runtime", "protocol", *GROUND},
    # The export measures with the service's own engine, and prepares pictures with the service's own code.
    "model": {"runtime", "protocol", "artifact"},
}
"""The room of a file of service/ and model/ -> the other rooms that it may import from, now or late."""


def _files() -> dict[str, Path]:
    """Every module of service/ and model/, by its dotted name."""
    found = {}
    for path in sorted([*ROOT.glob("service/**/*.py"), *ROOT.glob("model/**/*.py")]):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FILES = _files()


def _room(module: str) -> str:
    if module.startswith("model"):
        return "artifact" if module == "model.artifact" else "model"
    return module.split(".")[1] if "." in module else "service"


def _imports(module: str) -> Iterator[str]:
    """The modules of ours that `module` imports, wherever in it, also for types alone, or late: `events.codec`."""
    tree = ast.parse(FILES[module].read_text())
    if FILES[module].name == "__init__.py":
        # A room names its files for mypy.
        tree.body = [each for each in tree.body if not isinstance(each, ast.If)]
    late: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in FILES)
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
            late |= {name: each for name, each in inner.items() if each in FILES and _is_room(each)}
            yield from (each for each in inner.values() if each in FILES and not _is_room(each))
            if node.module in FILES and not all(each in FILES for each in inner.values()):
                yield node.module
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in late:
            yield f"{late[node.value.id]}.{node.attr}"


def _is_room(module: str) -> bool:
    return FILES[module].name == "__init__.py"


@pytest.mark.parametrize("module", FILES)
def test_a_file_imports_only_from_rooms_below_its_own(module: str) -> None:
    room = _room(module)
    found = {_room(each) for each in _imports(module)} - {room, "service"}
    assert found <= MAY_IMPORT.get(room, set())


def test_the_rooms_stand_on_floors() -> None:
    """The table itself has no circle, and no room that there is not."""
    assert {*TopologicalSorter(MAY_IMPORT).static_order()} == {_room(each) for each in FILES} - {"service"}


def test_no_file_imports_itself_in_a_circle() -> None:
    graph = {module: {each for each in _imports(module) if each in FILES} for module in FILES}
    assert len([*TopologicalSorter(graph).static_order()]) == len(FILES)


@pytest.mark.parametrize("room", [each for each in FILES if each.startswith("service.") and _is_room(each)])
def test_a_room_names_its_files(room: str) -> None:
    """For mypy, and for its reader, who finds a line about each in its map."""
    module = importlib.import_module(room)
    files = {each.removeprefix(f"{room}.") for each in FILES if each.rpartition(".")[0] == room}
    assert set(module.__all__) == files
    assert files <= {
        line.partition(" ")[0].removesuffix("/").removesuffix(".py") for line in (module.__doc__ or "").splitlines()
    }
