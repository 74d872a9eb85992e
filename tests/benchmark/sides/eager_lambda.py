"""The function as a tutorial has it: `import torch`, the eager model, and a handler for API Gateway."""

import base64
import json
import sys
from typing import Any

from service.telemetry import ledger

ledger.mark("python")

import torch  # noqa: E402 - after the mark, so that its import is a phase of its own

ledger.mark("torch")

from tests.benchmark.sides.classifier import Classifier  # noqa: E402

classifier = Classifier()


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """The top labels of the picture that is the body."""
    pictures = classifier.decode(base64.b64decode(event["body"])).unsqueeze(0)
    labels = classifier.answer(classifier.predict(pictures)[0])
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(labels)}


ledger.mark("model")
print(ledger, f"({torch.get_num_threads()} threads)", file=sys.stderr, flush=True)
