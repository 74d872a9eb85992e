"""An exception as one line; for the user's own code, with the line where it happened."""

import sysconfig
import traceback
from pathlib import Path

_NOT_THEIRS = (
    str(Path(__file__).parent),
    *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    "<",
)


def summary(fault: BaseException) -> str:
    """`ValueError: wanted 3 channels`: the type and the first line of the message."""
    text = next((line.strip() for line in str(fault).splitlines() if line.strip()), "")
    return f"{type(fault).__name__}: {text}" if text else type(fault).__name__


def told(fault: BaseException) -> str:
    """`ValueError: wanted 3 channels (net.py, line 12)`: the line in the user's own code, not in a library below it."""
    # The message of a SyntaxError has the line already.
    frames = [] if isinstance(fault, SyntaxError) else traceback.extract_tb(fault.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith(_NOT_THEIRS)]
    return f"{summary(fault)} ({theirs[-1].filename}, line {theirs[-1].lineno})" if theirs else summary(fault)
