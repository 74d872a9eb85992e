"""The floor: a hello-world Flask application."""

import sys

from flask import Flask

from service.telemetry import ledger

app = Flask(__name__)


@app.get("/")
def hello() -> str:
    return "Hello, World!"


ledger.mark("app")
print(ledger, file=sys.stderr, flush=True)
