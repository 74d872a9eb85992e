"""Small models of one's own, as `python -m model export tests/support/models.py:NAME` takes them."""

from collections import OrderedDict

import torch

from model.artifact import ImageSpec
from model.catalog import ImageClassifier, Model, torchvision

SIDE = 16
LABELS = ("ant", "bee", "cat", "dog", "eel", "fox")
PICTURE = ImageSpec(height=SIDE, width=SIDE, resize_shorter=20)
ONNX_DTYPES = (
    torch.bool, torch.uint8, torch.uint16, torch.uint32, torch.uint64, torch.int8, torch.int16, torch.int32,
    torch.int64, torch.float16, torch.float32, torch.float64,
)  # fmt: skip


class Net(torch.nn.Module):
    """FP32 [N, 3, 16, 16] in, one score for each label out; always of the same weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.second = torch.nn.Conv2d(8, 8, 3)
        self.last = torch.nn.Linear(8 * 5 * 5, len(LABELS))
        generator = torch.Generator().manual_seed(7)
        for weights in self.parameters():
            weights.data = torch.randn(weights.shape, generator=generator) / weights[0].numel() ** 0.5

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.second(torch.relu(self.first(pixels))))
        return self.last(features.flatten(1))  # type: ignore[no-any-return]


class Types(torch.nn.Module):
    """Every input comes back changed: turned over, doubled or one more; wide unsigned numbers in another order.

    The outputs have the shape [N, 3] of the inputs, and the last one is a view with the strides of something larger.
    """

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = [self._change(each) for each in inputs]
        return (*outputs, torch.cat((outputs[-1], outputs[-1]), 1)[:, ::2])

    def _change(self, given: torch.Tensor) -> torch.Tensor:
        if given.dtype == torch.bool:
            return ~given
        if given.is_floating_point():
            return given * 2
        if given.dtype in (torch.uint16, torch.uint32, torch.uint64):
            return torch.cat((given[:, 1:], given[:, :1]), 1)
        return given + 1


class Branching(torch.nn.Module):
    """Its way depends on the data, which torch.export refuses."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers * 2 if numbers.abs().sum() >= 0 else numbers


class Converting(torch.nn.Module):
    """BF16 [N, 3] in, twice that in FP32 and again in BF16 out."""

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        doubled = numbers.float() * 2
        return doubled, doubled.to(torch.bfloat16)


class Centred(torch.nn.Module):
    """An item's answer depends on the other items of its batch."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers - numbers.mean(0)


class Odds(torch.nn.Module):
    """FP32 [N, 2, 3] in; odds and chances out, written so that they are Infinity and NaN for numbers over 88."""

    def forward(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        odds = logits.exp()
        return odds, odds / (1 + odds)


class WithScalar(torch.nn.Module):
    """A scalar beside a tensor: it has no batch."""

    def forward(self, numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return numbers * 2, numbers.mean()


class Twice(torch.nn.Module):
    """One tensor in two outputs, a view of it in a third, and the input itself in a fourth."""

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (numbers,) = inputs
        answer = torch.softmax(numbers, 1)
        return answer, answer, answer.view(-1, 2, 2), numbers


class Named(torch.nn.Module):
    """Normalises its picture in place; takes `threshold` by name only; its outputs have names, one that of an input."""

    def forward(self, pixels: torch.Tensor, *, threshold: torch.Tensor) -> OrderedDict[str, torch.Tensor | None]:
        mask = pixels.sub_(1.0).div_(2.0).sigmoid_()
        total = mask.sum((1, 2))
        return OrderedDict(out=mask, aux=(total > threshold), pixels=total * 2, loss=None)


class Parts(torch.nn.Module):
    """FP32 [N, 64, 20, 20] in and out; each layer takes a part of the channels, or adds one: views of a wider tensor.

    So does its attention, whose queries, keys and values are thirds of one tensor.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mixed = torch.nn.Conv2d(64, 64, 1)
        self.dense = torch.nn.Conv2d(32, 32, 1)
        self.each = torch.nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.attention = torch.nn.MultiheadAttention(64, 4, batch_first=True)
        self.last = torch.nn.Linear(16, 16)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        left, right = self.mixed(picture).chunk(2, 1)
        left, right = self.dense(left) + right, self.each(right) + left
        rows = torch.cat((left, right), 1).permute(0, 2, 3, 1)
        tokens = rows.flatten(1, 2)
        rows = rows + self.attention(tokens, tokens, tokens, need_weights=False)[0].reshape(rows.shape)
        return torch.cat([self.last(part) for part in rows.chunk(4, -1)], -1).permute(0, 3, 1, 2)


class Smooth(torch.nn.Module):
    """FP32 [N, 64, 256] in and out, through layer norm, GELU and softmax `count` times: nothing but generated code."""

    def __init__(self, count: int = 1) -> None:
        super().__init__()
        self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(256) for _ in range(count))

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor]:
        for norm in self.norms:
            rows = torch.softmax(torch.nn.functional.gelu(norm(rows)), -1)
        return (rows,)


class Sorting(torch.nn.Module):
    """FP32 [N, 8] in, sorted out: a kernel that Inductor does not compile itself."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return torch.sort(numbers, 1).values


class Wide(torch.nn.Module):
    """FP32 [N, 1] in, each number 800,000 times out: 3.2 MB an item."""

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return numbers.expand(-1, 800_000) * 1.0


def tiny_module() -> torch.nn.Module:
    """UINT8 [N, 16, 16, 3] in, FP32 probabilities [N, 6] out."""
    return ImageClassifier(Net(), mean=[127.0] * 3, std=[64.0] * 3).eval()


def tiny() -> Model:
    example = torch.zeros(1, SIDE, SIDE, 3, dtype=torch.uint8)
    return Model(tiny_module(), {"image": example}, ("probabilities",), "tiny", LABELS, PICTURE)


def types_onnx() -> Model:
    """Every datatype that the onnx engine computes with."""
    return _types(*ONNX_DTYPES)


def types_aoti() -> Model:
    """Every datatype that the aoti engine knows."""
    return _types(*ONNX_DTYPES, torch.bfloat16)


def branching() -> Model:
    return Model(Branching(), {"numbers": torch.ones(1, 3)})


def converting() -> Model:
    return Model(Converting(), {"numbers": torch.ones(1, 3, dtype=torch.bfloat16)}, ("single", "half"))


def centred() -> Model:
    return Model(Centred(), {"numbers": torch.ones(1, 3)})


def odds() -> Model:
    return Model(Odds(), {"logits": torch.ones(1, 2, 3)}, ("odds", "chances"), "odds")


def wide() -> Model:
    return Model(Wide(), {"numbers": torch.ones(1, 1)})


def with_scalar() -> Model:
    return Model(WithScalar(), {"numbers": torch.ones(1, 3)})


def sorting() -> Model:
    return Model(Sorting(), {"numbers": torch.ones(1, 8)}, name="sorting")


def twice() -> Model:
    return Model(Twice(), {"numbers": torch.ones(1, 4)})


def named() -> Model:
    return Model(Named(), {"pixels": torch.ones(1, 3, 5), "threshold": torch.ones(1)})


def parts() -> Model:
    """Always of the same weights."""
    torch.manual_seed(7)
    return Model(Parts(), {"picture": torch.zeros(1, 64, 20, 20)})


def smooth() -> Model:
    return Model(Smooth(8), {"rows": torch.zeros(1, 64, 256)})


def segmentation() -> Model:
    """torchvision's own, untrained but always of the same weights: its answer is an OrderedDict with `out`."""
    torch.manual_seed(7)
    net = torchvision().models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=3
    )
    return Model(net.eval(), {"pixels": torch.zeros(1, 3, 32, 32)}, name="segmentation")


def nothing() -> int:
    """Not a model."""
    return 1


def _types(*dtypes: torch.dtype) -> Model:
    examples = {str(each).removeprefix("torch."): torch.tensor([[0, 1, 1]], dtype=each) for each in dtypes}
    return Model(Types(), examples, (*(f"out_{name}" for name in examples), "strided"), "types")
