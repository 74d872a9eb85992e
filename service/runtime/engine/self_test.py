"""The self-test: a model may answer only once it has given the answer of eager PyTorch."""

import math

from model.artifact import Artifact
from service.errors import EngineError
from service.protocol.tensor import values
from service.runtime.engine.interface import Engine


def check(artifact: Artifact, loaded: Engine) -> None:
    """Return if the smallest and the largest batch give eager PyTorch's answer, within the artifact's tolerance.

    Raises:
        EngineError: one does not, or failed.
    """
    asked, wanted = artifact.read_self_test()
    for size in {1, loaded.batch_sizes[-1]}:
        for answer in loaded.run([asked] * size):
            for spec, got, expected in zip(artifact.outputs, answer, wanted, strict=True):
                pairs = zip(values(spec.datatype, got), values(spec.datatype, expected), strict=True)
                differences = [0.0 if a == b else abs(a - b) / (1 + abs(b)) for a, b in pairs]
                # Not `max() <= tolerance`: max() passes over a NaN that does not come first.
                if not all(each <= artifact.tolerance for each in differences):
                    largest = math.nan if any(map(math.isnan, differences)) else max(differences)
                    raise EngineError(
                        f"self-test failed: output {spec.name} differs by {largest:.2g} (tolerance {artifact.tolerance:g})"
                    )
