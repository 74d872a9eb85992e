"""Pure: KServe's V1 protocol, JSON only, to and from items.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from collections.abc import Callable
from typing import Any

from model.artifact import Artifact
from service.errors import BadRequest, Unprocessable
from service.protocol.tensor import Item, Tensor, check_finite, encode_values, nest
from service.protocol.v2 import decode_base64, decode_json, to_json


def decode(body: bytes, artifact: Artifact, decode_image: Callable[[bytes], bytes], max_items: int) -> list[Item]:
    """V1's `{"instances": [...]}` for a model with one input; each instance is an array, or `{"b64": "..."}`, a picture.

    Raises:
        BadRequest: cannot be decoded.
        Unprocessable: decoded, but not what the model takes.
    """
    if len(artifact.inputs) != 1:
        raise Unprocessable("V1 has no names for several inputs: POST /v2/models/NAME/infer")
    (spec,) = artifact.inputs
    instances = decode_json(body).get("instances")
    if not isinstance(instances, list) or not 1 <= len(instances) <= max_items:
        raise BadRequest(f"instances: wanted a list of 1 to {max_items} items")
    items: list[Item] = []
    for index, instance in enumerate(instances):
        where = f"instances[{index}]"
        value = instance.get(spec.name, instance) if isinstance(instance, dict) else instance
        if isinstance(value, dict) and value.keys() == {"b64"}:
            items.append((decode_image(decode_base64(value["b64"], where)),))
        else:
            raw = encode_values(value, spec.datatype, spec.shape, where)
            check_finite(spec.datatype, raw, where)
            items.append((raw,))
    return items


def encode(outputs: dict[str, Tensor]) -> list[Any]:
    """V1's predictions: for each item its output, or an object of them where there are several."""
    columns = {name: nest(to_json(tensor), tensor.shape) for name, tensor in outputs.items()}
    if len(columns) == 1:
        return next(iter(columns.values()))
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
