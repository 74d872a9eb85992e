"""`python -m tests.benchmark.decode`: peak memory and time of one picture, the service beside Pillow as a script uses it."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmark.report import table
from tests.support.decoding import MOST_BYTES, SHAPES, Decoded, measure

HEADER = ("picture", "file", "ours: peak MB", "s", "Pillow: peak MB", "s")


def main() -> int:
    """1 if one of them takes more than the reference says."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmark.decode", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT", help="pictures with that in their names")
    asked = parser.parse_args().only.lower()
    rows, is_bounded = [], True
    with tempfile.TemporaryDirectory() as folder:
        for name, make in SHAPES.items():
            if asked not in name.lower():
                continue
            print(f"  {name}", file=sys.stderr, flush=True)
            picture = make()
            ours, pillow = (measure(picture, Path(folder), side) for side in ("ours", "pillow"))
            is_bounded = is_bounded and ours.peak_bytes <= MOST_BYTES
            rows.append((name, f"{len(picture) / 1e6:.1f} MB", *_cells(ours), *_cells(pillow)))
    print(table(f"One picture, at most {MOST_BYTES / 1e6:.0f} MB", HEADER, rows))
    return 0 if is_bounded else 1


def _cells(found: Decoded) -> tuple[str, str]:
    return (f"{found.peak_bytes / 1e6:.0f}" + (" (refused)" if found.refused else "")), f"{found.seconds:.2f}"


if __name__ == "__main__":
    sys.exit(main())
