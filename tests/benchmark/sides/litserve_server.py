"""LitServe with eager PyTorch: as many workers as there are cores, the picture in base64 as its CPU guide sends it."""

import base64
import os
from typing import Any

import litserve  # type: ignore[import-not-found]
import torch

from tests.benchmark.sides.classifier import Classifier


class ImageClassifierApi(litserve.LitAPI):  # type: ignore[misc]
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature; there is only the CPU
        # Each worker is a process of its own: with torch's default they would fight for the cores.
        torch.set_num_threads(1)
        self.classifier = Classifier()

    def decode_request(self, request: litserve.Request) -> torch.Tensor:
        return self.classifier.decode(base64.b64decode(request["image_data"]))

    def predict(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.classifier.predict(pictures)

    def encode_response(self, output: torch.Tensor) -> dict[str, Any]:
        return self.classifier.answer(output)


if __name__ == "__main__":
    # Tried on 2 busy cores at concurrency 8, CPU ms an image in two runs each: this 52 and 53, without batches 64 and 57.
    # Once each, and slower: four workers, batches of 8, and one worker of two threads.
    server = litserve.LitServer(
        ImageClassifierApi(max_batch_size=4, batch_timeout=0.01),
        accelerator="cpu",
        workers_per_device=len(os.sched_getaffinity(0)),
    )
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False)
