"""An exception, told in one line; of a person's own code with the line where it happened."""

import sysconfig
import traceback
from pathlib import Path

_NOT_THEIRS = (
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    "<",
)


def summary(fault: BaseException) -> str:
    """`ValueError: wanted 3 channels`: the first line of what it says."""
    text = next((line.strip() for line in str(fault).splitlines() if line.strip()), "")
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def told(fault: BaseException) -> str:
    """`ValueError: wanted 3 channels (net.py, line 12)`: the line of their own code, not of a library's below it."""
    # What a SyntaxError says has the line in it.
    frames = [] if isinstance(fault, SyntaxError) else traceback.extract_tb(fault.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    return f"{summary(fault)} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else summary(fault)
