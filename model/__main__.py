"""`python -m model export NAME --output DIR` and `python -m model show DIR`."""

import argparse
import sys
from pathlib import Path

from model import cpus
from model.artifact import Artifact, ArtifactError, TensorSpec


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_export(commands.add_parser("export", help="compile a model, check it against eager PyTorch, measure it"))
    show = commands.add_parser("show", help="print what an artifact is and why it has its engine")
    show.add_argument("artifact", type=Path, metavar="DIR")
    show.set_defaults(run=_show)
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="efficientnet_lite0, torchvision:NAME or path/to/file.py:function")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to write the artifact into")
    parser.add_argument("--engine", choices=("aoti", "onnx", "auto"), default="aoti", help="auto: the faster of both")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument(
        "--runtime",
        choices=("auto", "libtorch", "standalone"),
        default="auto",
        help="of aoti: with libtorch or without it; auto: without where the model can and is fast enough",
    )
    parser.add_argument(
        "--cpu", choices=cpus.NAMES, default="", help="of aoti: CPU to compile for (x86-64-v3; on arm64: armv8.2-a)"
    )
    parser.add_argument(
        "--weights",
        default="",
        metavar="FILE",
        help="safetensors or a state dict of torch.save, or `none` for untrained weights",
    )
    parser.add_argument(
        "--batch-sizes", type=_numbers, default=(1, 4), metavar="N,N", help="to measure; kept where it pays (1,4)"
    )
    parser.add_argument("--threads", type=_numbers, default=(), metavar="N,N", help="to measure (1 and all CPUs)")
    parser.add_argument("--tolerance", type=_tolerance, help="largest difference from eager (1e-3; bf16: 0.1)")
    parser.set_defaults(run=_export)


def _numbers(text: str) -> tuple[int, ...]:
    numbers = tuple(int(each) for each in text.split(","))
    if any(each < 1 for each in numbers):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted whole numbers of at least 1")
    return numbers


def _tolerance(text: str) -> float:
    if not 0 < float(text) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted a number over 0")
    return float(text)


def _export(arguments: argparse.Namespace) -> int:
    from model.catalog import CatalogError
    from model.contract import ContractError
    from model.export import ExportError, Request, export
    from model.measure import MeasureError
    from model.parity import ParityError

    options = {key: value for key, value in vars(arguments).items() if key != "run"}
    try:
        artifact = export(Request(**options))
    except (CatalogError, ContractError, cpus.CpuError, ExportError, MeasureError, ParityError, OSError) as fault:
        print(f"export failed: {fault}", file=sys.stderr)
        return 1
    print(describe(artifact))
    return 0


def _show(arguments: argparse.Namespace) -> int:
    try:
        artifact = Artifact.read(arguments.artifact)
        artifact.verify()
    except ArtifactError as fault:
        print(fault, file=sys.stderr)
        return 1
    print(describe(artifact))
    return 0


def describe(artifact: Artifact) -> str:
    """The artifact for people: what it is, what it needs, and the measurements behind its defaults."""
    evidence = artifact.evidence
    size = sum((artifact.path / name).stat().st_size for name in artifact.files) / 2**20
    lines = [
        f"{artifact.name}: {artifact.engine} {artifact.precision} in {artifact.path} ({size:.1f} MiB)",
        f"  digest   {artifact.digest}",
        *(f"  input    {_tensor(each)}" for each in artifact.inputs),
        *(f"  output   {_tensor(each)}" for each in artifact.outputs),
        f"  labels   {len(artifact.labels)}",
        f"  picture  {_picture(artifact)}",
        f"  CPU      {artifact.cpu.name}",
        f"  built by {', '.join(f'{name} {version}' for name, version in artifact.versions.items())}",
        f"  engine   {evidence['engine']}",
        *([f"  runtime  {_runtime(artifact)}"] if artifact.engine == "aoti" else []),
        f"  parity   {_parity(artifact)}",
        f"  defaults {_defaults(artifact)}",
        "",
        f"  measured on {evidence['cpus']} CPUs, all runners busy",
        "  engine  batch  runners x threads  run ms  items/s  load ms  RSS MB",
    ]
    for engine, rows in evidence["measured"].items():
        lines += [
            f"  {engine:6}  {row['batch']:5}  {row['runners']:7} x {row['threads']:<7}  {row['run_ms']:6.1f}"
            f"  {row['items_per_s']:7.1f}  {row['load_ms']:7.0f}  {row['rss_mb']:6.0f}"
            for row in rows
        ]
    return "\n".join(lines)


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.name} {spec.datatype} [{', '.join(map(str, ('N', *spec.shape)))}]"


def _picture(artifact: Artifact) -> str:
    spec = artifact.image
    if spec is None:
        return "none: tensors only"
    return f"shorter side {spec.resize_shorter} {spec.interpolation}, centre {spec.height}x{spec.width}, RGB"


def _defaults(artifact: Artifact) -> str:
    return (
        f"batches up to {artifact.defaults.max_batch_size}, {artifact.defaults.threads} thread(s) a run: the fastest "
        f"measured; others had to be {artifact.evidence['worth'] - 1:.0%} faster than one item on one thread"
    )


def _runtime(artifact: Artifact) -> str:
    why = artifact.evidence.get("runtime")  # unknown to artifacts of version 0.1.0
    return f"{artifact.runtime}: {why}" if why else artifact.runtime


def _parity(artifact: Artifact) -> str:
    parity = artifact.evidence["parity"]
    worst = max(parity["largest_difference"].values())
    return (
        f"{worst:.2g} from eager PyTorch at most (tolerance {artifact.tolerance:g}), over {parity['real_pictures']} "
        f"pictures and {parity['random']} random inputs"
    )


if __name__ == "__main__":
    sys.exit(main())
