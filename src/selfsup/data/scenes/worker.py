"""A process that draws parts of an order: `python -m selfsup.data.scenes.worker KIND ORDER PARTS`, started by crew.py.

It prints the number of each part it has written, and ends when nobody reads them any more.
"""

import json
import os
import signal
import sys

from selfsup.data.scenes.crew import of_kind


def main() -> None:
    """Draw the parts named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    make, draw = of_kind(sys.argv[1])
    order, parts = make(**json.loads(sys.argv[2])), json.loads(sys.argv[3])
    for part in parts:
        draw(order, part)
        try:
            sys.stdout.write(f"{part}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


if __name__ == "__main__":
    main()
