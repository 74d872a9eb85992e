"""The service as a tutorial has it: Flask, `import torch`, the eager model, torch's own number of threads."""

import sys

from flask import Flask, Response, jsonify, request

from service.telemetry import ledger

ledger.mark("flask")

import torch  # noqa: E402 - after the mark, so that its import is a phase of its own

ledger.mark("torch")

from tests.benchmark.sides.classifier import Classifier  # noqa: E402

classifier = Classifier()
app = Flask(__name__)


@app.get("/ready")
def ready() -> Response:
    return jsonify(ready=True)


@app.post("/infer")
def infer() -> Response:
    pictures = classifier.decode(request.get_data()).unsqueeze(0)
    return jsonify(classifier.answer(classifier.predict(pictures)[0]))


ledger.mark("model")
print(ledger, f"({torch.get_num_threads()} threads)", file=sys.stderr, flush=True)
