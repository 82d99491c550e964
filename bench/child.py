"""One side of a benchmark in a process of its own: python bench/child.py MODULE.FUNCTION '{"argument": value}'.

The last line it prints is what the function returns, as JSON, with the peak memory of the process.
"""

import importlib
import json
import sys

from common import resident_gb


def main() -> None:
    """Call the function and print its report."""
    module, function = sys.argv[1].split(".")
    report = getattr(importlib.import_module(module), function)(**json.loads(sys.argv[2]))
    print(json.dumps(report | {"peak_gb": resident_gb("VmHWM")}))


if __name__ == "__main__":
    main()
