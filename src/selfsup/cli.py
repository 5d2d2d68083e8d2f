"""The front door of the command line: what needs no flags is answered here, at once; errors become sentences."""

import os
import sys
from collections.abc import Sequence

import selfsup
from selfsup import signatures
from selfsup.errors import InputError, TrainingFailed
from selfsup.methods import METHODS
from selfsup.terminal import say, table

COMMANDS = (
    "methods", "pretrain", "baseline", "evaluate", "advise", "embed", "predict", "export", "report", "audit", "render",
    "demo",
)  # fmt: skip
FUNCTIONS = {"report": "write_report", "render": "render_scenes"}
"""Where a command is not called as its function."""
HELP = ("--help", "-h")


def main(tokens: Sequence[str] | None = None) -> None:
    """Run a command and leave: 0 done, 1 training failed, 2 the input cannot be used, 130 stopped by Ctrl-C."""
    sys.exit(run(sys.argv[1:] if tokens is None else list(tokens)))


def run(tokens: list[str]) -> int:
    """Run a command, give its exit code; what a person can cause is told in a sentence, a bug keeps its traceback."""
    try:
        answer(tokens)
        return 0
    except InputError as error:
        return _told(error, 2)
    except TrainingFailed as error:
        return _told(error, 1)
    except KeyboardInterrupt as error:
        return _told(str(error) or "Stopped.", 130)
    except BrokenPipeError:  # `selfsup methods | head` is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def answer(tokens: list[str]) -> None:
    """Answer what needs no flags; hand on the rest."""
    if not tokens or tokens[0] in HELP:
        print_overview()
    elif tokens == ["--version"]:
        say(selfsup.__version__)
    elif tokens[0] == "methods":
        if tokens[1:] and tokens[1] not in HELP:
            raise InputError(f"selfsup methods takes nothing more, got {tokens[1]!r}.")
        print_methods()
    else:
        from selfsup import commands

        commands.run(tokens)


def print_overview() -> None:
    """Print what the program is for and what it can do."""
    say("Which self-supervised pretext task should I use on my images, if any?")
    say()
    say("Usage: selfsup COMMAND [ARGUMENTS], selfsup COMMAND --help, selfsup --version")
    say()
    for line in table(("", ""), [(f"  {name}", summary(name)) for name in COMMANDS], left=2)[1:]:
        say(line)
    say()
    say("For example: selfsup advise photos/ --labels labelled/    or, with nothing at hand: selfsup demo")


def print_methods() -> None:
    """List the pretext tasks."""
    rows = [(name, line.family, line.summary) for name, line in METHODS.items()]
    for line in table(("method", "family", "task"), rows, left=3):
        say(line)


def summary(command: str) -> str:
    """Say in one line what a command does: the first line of its function."""
    return "List the pretext tasks." if command == "methods" else signatures.of_function(*place(command)).summary


def place(command: str) -> tuple[str, str]:
    """Module and name of a command's function."""
    name = FUNCTIONS.get(command, command)
    return selfsup.PLACES[name], name


def _told(text: object, code: int) -> int:
    say(text, sys.stderr)
    return code
