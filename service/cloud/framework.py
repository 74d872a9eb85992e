"""`python -m service.cloud.framework --target http` (or `event`): functions-framework, with our entry points.

functions-framework imports the CloudEvents SDK by its names from before 2.0. The SDK still has that code below
`cloudevents.v1`; here it gets its old names back.
"""

import os
import sys
from pathlib import Path

import cloudevents.v1.http  # noqa: F401 - with all that it imports


def main() -> None:
    """Serve until SIGTERM. Options are those of functions-framework, and so are the variables FUNCTION_..."""
    for name, module in list(sys.modules.items()):
        if name.startswith("cloudevents.v1."):
            sys.modules[name.replace(".v1.", ".", 1)] = module
    os.environ.setdefault("FUNCTION_SOURCE", str(Path(__file__).with_name("functions.py")))
    from functions_framework._cli import _cli  # noqa: PLC0415 - it imports those names

    _cli()


if __name__ == "__main__":
    main()
