"""Pure: the tensors of a request <-> the items of a batch, checked against the artifact."""

from collections.abc import Callable, Sequence

from model.artifact import Artifact, TensorSpec
from service.errors import Unprocessable
from service.protocol.tensor import Item, Tensor, check_finite
from service.protocol.v2 import InferRequest

DecodeImage = Callable[[bytes], bytes]
"""One encoded picture -> one raw item of the first input."""


def items_of(request: InferRequest, artifact: Artifact, decode_image: DecodeImage, max_items: int) -> list[Item]:
    """One item for each place of the batch dimension.

    Raises:
        Unprocessable: not the inputs that the model has, or not of their shape and datatype.
    """
    given = {tensor.name: tensor for tensor in request.inputs}
    wanted = [spec.name for spec in artifact.inputs]
    if sorted(given) != sorted(wanted) or len(given) != len(request.inputs):
        raise Unprocessable(f"inputs are {[tensor.name for tensor in request.inputs]}, the model has {wanted}")
    known = [spec.name for spec in artifact.outputs]
    for output in request.outputs:
        if output.name not in known:
            raise Unprocessable(f"no output {output.name!r}, the model has {known}")
    count = (given[wanted[0]].shape or (0,))[0]
    if not 1 <= count <= max_items:
        raise Unprocessable(f"a batch of {count} items: wanted 1 to {max_items}")
    columns = [_column(given[spec.name], spec, count, artifact, decode_image) for spec in artifact.inputs]
    return list(zip(*columns, strict=True))


def outputs_of(results: Sequence[Item], artifact: Artifact) -> dict[str, Tensor]:
    """The items' results, joined again along the batch dimension."""
    return {
        spec.name: Tensor(spec.name, spec.datatype, (len(results), *spec.shape), b"".join(parts))
        for spec, parts in zip(artifact.outputs, zip(*results, strict=True), strict=True)
    }


def _column(
    tensor: Tensor, spec: TensorSpec, count: int, artifact: Artifact, decode_image: DecodeImage
) -> Sequence[bytes | memoryview]:
    where = f"input {tensor.name!r}"
    takes_pictures = artifact.image is not None and spec is artifact.inputs[0]
    if isinstance(tensor.data, list):
        if not takes_pictures:
            raise Unprocessable(f"{where}: datatype BYTES, wanted {spec.datatype}")
        if tensor.shape not in ((count,), (count, 1)):
            raise Unprocessable(f"{where}: shape {list(tensor.shape)}, pictures come as BYTES [N]")
        return [_picture(encoded, decode_image, f"{where}[{index}]") for index, encoded in enumerate(tensor.data)]
    if tensor.datatype != spec.datatype:
        pictures = " or BYTES" if takes_pictures else ""
        raise Unprocessable(f"{where}: datatype {tensor.datatype}, wanted {spec.datatype}{pictures}")
    if tensor.shape != (count, *spec.shape):
        raise Unprocessable(f"{where}: shape {list(tensor.shape)}, wanted {[-1, *spec.shape]}")
    check_finite(spec.datatype, tensor.data, where)
    view, size = memoryview(tensor.data), spec.item_bytes
    return [view[start : start + size] for start in range(0, count * size, size)] if size else [b""] * count


def _picture(encoded: bytes, decode_image: DecodeImage, where: str) -> bytes:
    try:
        return decode_image(encoded)
    except Unprocessable as fault:
        raise Unprocessable(f"{where}: {fault}") from None
