"""What is compared: how each side is started and asked.

All predictors answer JSON as the service does: `{"labels": [{"label", "index", "probability"}, ...]}`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmark.photo import Body, is_espresso

ENGINES = ("aoti", "onnx")
HELLO, EAGER, MOSEC, LITSERVE = "hello-world Flask", "eager torch", "mosec", "LitServe"
LAMBDA_EAGER = "Lambda eager torch"


def ours(engine: str) -> str:
    return f"kindling {engine}"


def on_lambda(engine: str) -> str:
    return f"Lambda kindling {engine}"


def loop(engine: str) -> str:
    return f"in-process {engine}"


@dataclass(frozen=True)
class Side:
    """A server. `command` may hold `{port}`; `body` is None where a GET is the whole question."""

    name: str
    command: tuple[str, ...]
    path: str
    body: Body | None
    environ: dict[str, str] = field(default_factory=dict)

    def is_correct(self, answer: bytes) -> bool:
        return is_espresso(answer) if self.body else bool(answer)


@dataclass(frozen=True)
class Places:
    """Where things are: the artifact of each engine, the picture's two forms, the peers' Pythons."""

    artifacts: dict[str, Path]
    jpeg: Body
    wrapped: Body
    pythons: dict[str, Path]


def services(places: Places) -> list[Side]:
    """Our process with each engine, and the two Flask services that it is measured against."""
    return [
        *(
            Side(ours(engine), (sys.executable, "-m", "service"), "/infer", places.jpeg, _environ(places, engine))
            for engine in places.artifacts
        ),
        Side(EAGER, _flask("eager"), "/infer", places.jpeg, _environ(places, "aoti")),
        Side(HELLO, _flask("hello"), "/", None),
    ]


def peers(places: Places) -> list[Side]:
    """The servers that could be installed."""
    environ = _environ(places, "aoti")
    found: list[Side] = []
    if python := places.pythons.get(MOSEC):
        options = ("--address", "127.0.0.1", "--port", "{port}", "--timeout", "60000", "--log-level", "error")
        command = (str(python), "-m", "tests.benchmark.sides.mosec_server", *options)
        found.append(Side(MOSEC, command, "/inference", places.jpeg, environ))
    if python := places.pythons.get(LITSERVE):
        program = (str(python), "-m", "tests.benchmark.sides.litserve_server")
        found.append(Side(LITSERVE, program, "/predict", places.wrapped, environ))
    return found


def _flask(name: str) -> tuple[str, ...]:
    config = str(Path(__file__).parent / "sides" / "gunicorn_conf.py")
    return (sys.executable, "-m", "gunicorn", "--config", config, f"tests.benchmark.sides.{name}:app")


def _environ(places: Places, engine: str) -> dict[str, str]:
    return {"MODEL_DIR": str(places.artifacts[engine])}
