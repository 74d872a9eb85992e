"""mosec with eager PyTorch: bytes in, JSON out, as many workers as there are cores."""

import os
from typing import Any

import torch
from mosec import Server, Worker  # type: ignore[import-not-found]

from tests.benchmark.sides.classifier import Classifier


class Inference(Worker):  # type: ignore[misc]
    def __init__(self) -> None:
        # Each worker is a process of its own: with torch's default they would fight for the cores.
        torch.set_num_threads(1)
        self.classifier = Classifier()

    def deserialize(self, data: bytes) -> bytes:
        """The body is the picture itself, not mosec's default of JSON."""
        return data

    def forward(self, data: bytes) -> dict[str, Any]:
        pictures = self.classifier.decode(data).unsqueeze(0)
        return self.classifier.answer(self.classifier.predict(pictures)[0])


if __name__ == "__main__":
    server = Server()
    # Layouts tried on 2 busy cores at concurrency 8, CPU ms an image in two runs each: this one 50 and 49; decoding as a
    # stage of its own, then batches of up to 8, 61 and 44; the same without batches 53 and 60. Not told apart by this.
    server.append_worker(Inference, num=len(os.sched_getaffinity(0)))
    server.run()
