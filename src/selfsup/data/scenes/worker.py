"""A process that draws parts of an order: `python -m selfsup.data.scenes.worker ORDER PARTS`, started by store.py.

It prints the number of each part it has written, and ends when nobody reads them any more.
"""

import json
import os
import signal
import sys

from selfsup.data.scenes.store import Order, draw_part


def main() -> None:
    """Draw the parts named on the command line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    order, parts = Order(**json.loads(sys.argv[1])), json.loads(sys.argv[2])
    for part in parts:
        draw_part(order, part)
        try:
            sys.stdout.write(f"{part}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent is gone
            os._exit(1)


if __name__ == "__main__":
    main()
