"""Pure: the tensors of a request <-> the items of a batch, checked against the artifact."""

from collections.abc import Callable, Sequence

from model.artifact import Artifact, TensorSpec
from service.errors import Unprocessable
from service.protocol.tensor import Item, Tensor
from service.protocol.v2 import InferRequest

DecodeImage = Callable[[bytes], bytes]
"""One encoded picture -> one raw item of the first input."""


def items_of(request: InferRequest, artifact: Artifact, decode_image: DecodeImage, max_items: int) -> list[Item]:
    """One item for each place of the batch dimension.

    Raises:
        Unprocessable: not the model's inputs, or not their shapes and datatypes.
    """
    given = {tensor.name: tensor for tensor in request.inputs}
    wanted = [spec.name for spec in artifact.inputs]
    if sorted(given) != sorted(wanted) or len(given) != len(request.inputs):
        raise Unprocessable(f"inputs are {[tensor.name for tensor in request.inputs]}, the model has {wanted}")
    known = [spec.name for spec in artifact.outputs]
    for output in request.outputs:
        if output.name not in known:
            raise Unprocessable(f"no output {output.name!r}, the model has {known}")
    for spec in artifact.inputs:
        _check_form(given[spec.name], spec, artifact)
    count = given[wanted[0]].shape[0]
    if not 1 <= count <= max_items:
        raise Unprocessable(f"a batch of {count} items: wanted 1 to {max_items}")
    for name in wanted:
        if given[name].shape[0] != count:
            raise Unprocessable(f"a batch of {count} items: input {name!r} has {given[name].shape[0]}")
    columns = [_column(given[spec.name], spec, count, decode_image) for spec in artifact.inputs]
    return list(zip(*columns, strict=True))


def outputs_of(results: Sequence[Item], artifact: Artifact) -> dict[str, Tensor]:
    """The items' results, joined again along the batch dimension."""
    return {
        spec.name: Tensor(spec.name, spec.datatype, (len(results), *spec.shape), b"".join(parts))
        for spec, parts in zip(artifact.outputs, zip(*results, strict=True), strict=True)
    }


def picture(encoded: bytes, decode_image: DecodeImage, where: str) -> bytes:
    """One item of an encoded picture; errors begin with `where`."""
    try:
        return decode_image(encoded)
    except Unprocessable as fault:
        raise Unprocessable(f"{where}: {fault}") from None


def _check_form(tensor: Tensor, spec: TensorSpec, artifact: Artifact) -> None:
    """Check datatype and shape, except for the batch dimension."""
    where, shape = f"input {tensor.name!r}", list(tensor.shape)
    takes_pictures = artifact.image is not None and spec is artifact.inputs[0]
    if takes_pictures and tensor.datatype == "BYTES":
        if not shape or shape[1:] not in ([], [1]):
            raise Unprocessable(f"{where}: shape {shape}, pictures come as BYTES [N]")
    elif tensor.datatype != spec.datatype:
        pictures = " or BYTES" if takes_pictures else ""
        raise Unprocessable(f"{where}: datatype {tensor.datatype}, wanted {spec.datatype}{pictures}")
    elif not shape or shape[1:] != [*spec.shape]:
        raise Unprocessable(f"{where}: shape {shape}, wanted {[-1, *spec.shape]}")


def _column(tensor: Tensor, spec: TensorSpec, count: int, decode_image: DecodeImage) -> Sequence[bytes | memoryview]:
    """One input, item by item; the memory is the tensor's, borrowed."""
    if isinstance(tensor.data, list):
        where = f"input {tensor.name!r}"
        return [picture(encoded, decode_image, f"{where}[{index}]") for index, encoded in enumerate(tensor.data)]
    view, size = memoryview(tensor.data), spec.item_bytes
    return [view[start : start + size] for start in range(0, count * size, size)] if size else [b""] * count
