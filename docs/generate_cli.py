"""Write docs/cli.md from the signatures, or check that it is up to date: `docs/generate_cli.py [--check]`."""

import sys
from collections.abc import Iterable
from pathlib import Path

from selfsup import flags, signatures, values
from selfsup.cli import COMMANDS, place, summary
from selfsup.commands import DRY_RUN, QUIET
from selfsup.methods import METHODS
from selfsup.signatures import REQUIRED, Setting

PAGE = Path(__file__).with_name("cli.md")
HEAD = """# The command line

This page is written by `docs/generate_cli.py` from the signatures of the Python functions; `make check` compares.

Every flag is an argument of the function of the same name: `selfsup pretrain rotation photos/ --image-size 64` is
`selfsup.pretrain("rotation", "photos/", image_size=64)`. Several values are separated by commas
(`--label-budgets 5,20,all`), `none` means no value, and a flag that is on by default is turned off by `--no-NAME`.

Exit codes: 0 done, 1 training failed, 2 the input cannot be used (one sentence says why), 130 stopped by Ctrl-C.
"""
CONFIG_HELP = """## Settings from a file

`--config FILE` reads settings from YAML, one `name: value` a line, dashes or underscores. Flags that are given win over
the file, and a given length (`--steps`, `--budget` or `--epochs`) replaces whatever length the file holds. A run's
`config.yaml` is such a file: `selfsup pretrain --config runs/NAME/config.yaml` takes method, images and settings from
it.
"""


def page() -> str:
    """Give the whole page."""
    parts = [HEAD, CONFIG_HELP]
    for command in COMMANDS:
        parts.append(f"## selfsup {command}\n\n{plain(summary(command))}\n")
        if command == "pretrain":
            parts += pretrain()
        elif command != "methods":
            read = signatures.of_function(*place(command))
            parts += [f"{plain(read.description)}\n"] if read.description else []
            parts.append(usage(command, read.settings.values()))
            parts.append(
                rows([*read.settings.values(), flags.CONFIG, *([QUIET] if "quiet" not in read.accepts else [])])
            )
    return "\n".join(parts)


def pretrain() -> list[str]:
    """Give the sections of `pretrain`: what all methods share, then each method's own."""
    read = signatures.of_function(*place("pretrain"))
    shared = [setting for setting in read.settings.values() if setting.name != "method"]
    parts = [usage("pretrain METHOD", shared), rows([*shared, flags.CONFIG, DRY_RUN, QUIET])]
    parts.append("The recipe, with its defaults where a method has none of its own:\n")
    parts.append(rows(signatures.of_recipe().settings.values()))
    general = {name: setting.default for name, setting in signatures.of_recipe().settings.items()}
    for name in METHODS:
        own, recipe = signatures.of_method(name), signatures.recipe_of(name)
        different = [f"`{flag(key)} {text(value)}`" for key, value in recipe.items() if value != general[key]]
        parts.append(f"### selfsup pretrain {name}\n\n{plain(own.summary)}\n")
        if own.settings:
            parts.append(rows(own.settings.values()))
        if different:
            parts.append(f"Recipe of its own: {', '.join(different)}.\n")
    return parts


def usage(command: str, settings: Iterable[Setting]) -> str:
    """Give the line that shows how the command is called."""
    names = [setting for setting in settings if setting.positional]
    words = [name.name.upper() if name.default is REQUIRED else f"[{name.name.upper()}]" for name in names]
    return f"```\n{' '.join(['selfsup', command, *words, '[OPTIONS]'])}\n```\n"


def rows(settings: Iterable[Setting]) -> str:
    """Give a table of settings."""
    lines = ["| flag | takes | default | |", "|---|---|---|---|"]
    for one in settings:
        default = (
            "required" if one.default is REQUIRED else "" if one.default in (None, ()) else f"`{text(one.default)}`"
        )
        lines.append(f"| `{flag(one.name)}` | {values.words(one.annotation)} | {default} | {plain(one.help)} |")
    return "\n".join(lines) + "\n"


def flag(name: str) -> str:
    """Write a setting as a flag."""
    return f"--{name.replace('_', '-')}"


def text(value: object) -> str:
    """Write a default."""
    return f"{value:g}" if isinstance(value, float) else values.write(value)


def plain(words: str) -> str:
    """Keep a text from being read as a table or as HTML."""
    return words.replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[")


def main() -> None:
    """Write the page, or compare it."""
    if sys.argv[1:] == ["--check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            sys.exit("docs/cli.md is not what the signatures say; run: python docs/generate_cli.py")
    else:
        PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
