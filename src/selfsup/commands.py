"""The commands: flags derived from signatures, checked before torch is imported, handed to functions."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cyclopts import App, CycloptsError, Parameter
from cyclopts.exceptions import MissingArgumentError, UnknownOptionError, UnusedCliTokensError

import selfsup
from selfsup import flags, signatures, values
from selfsup.cli import COMMANDS, place
from selfsup.errors import InputError
from selfsup.flags import CONFIG, LENGTHS, Section
from selfsup.methods import METHODS, entry
from selfsup.networks.names import WAYS
from selfsup.progress import Progress, Shown, silent
from selfsup.signatures import REQUIRED, Setting, Signature

SOURCES = ("data", "labels", "run", "init", "plan", "images", "folder", "held_out")
"""Arguments that name something on disk, which must be there."""

QUIET = Setting("quiet", bool, False, "show no progress.", False)
DRY_RUN = Setting("dry_run", bool, False, "print the forecast and the resolved settings, and train nothing.", False)


def run(tokens: list[str]) -> None:
    """Run a command.

    Raises:
        InputError: if the words make no command.
    """
    tokens = _named(tokens)
    try:
        build(tokens)(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise InputError(_sentence(error)) from error


def build(tokens: Sequence[str]) -> App:
    """Build the command that `tokens` name; the others are not needed, so their signatures are not read."""
    app = App(
        name="selfsup",
        default_parameter=Parameter(negative_iterable=()),
        config=flags.from_file,
        suppress_keyboard_interrupt=False,
        help_format="plaintext",
    )
    for name in COMMANDS:
        if name == "pretrain":
            app.command(_pretrain(tokens))
        elif name in tokens[:1]:
            app.command(_function(name), name=name, usage=_usage(name, signatures.of_function(*place(name)).settings))
    return app


def _function(name: str) -> Callable[..., None]:
    read = signatures.of_function(*place(name))
    sections = [Section("Options", {**read.settings, **_extra(read, CONFIG, QUIET)})]

    def call(given: dict[str, Any]) -> None:
        _refuse_missing(given)
        if name == "advise":
            _refuse_fixed(given)
        with _progress(given, read.accepts) as words:
            result = getattr(selfsup, place(name)[1])(**given, **words)
        if _is_first():
            from selfsup import results

            results.show(name, result)

    return flags.command(read.summary, read.description, sections, call)


def _pretrain(tokens: Sequence[str]) -> App:
    """Build a command for each method: flags of the function, of the method's constructor and of the recipe."""
    read = signatures.of_function(*place("pretrain"))
    app = App(name="pretrain", help=read.summary, usage="Usage: selfsup pretrain METHOD DATA [OPTIONS]")
    for name, line in METHODS.items():
        if name not in tokens[1:2]:
            app.command(App(name=name, help=f"{line.summary} ({line.family})"))
            continue
        own, recipe = signatures.of_method(name), signatures.of_recipe(name)
        plain = {key: setting for key, setting in read.settings.items() if key != "method"}
        sections = [
            Section("Options", {**plain, **_extra(read, CONFIG, DRY_RUN, QUIET)}),
            Section(f"Options of {name}", own.settings),
            Section(f"Recipe of {name}", recipe.settings),
        ]
        call = flags.command(own.summary, own.description, sections, _trainer(name, read))
        app.command(call, name=name, usage=_usage(f"pretrain {name}", plain))
    return app


def _usage(command: str, settings: Mapping[str, Setting]) -> str:
    names = [setting for setting in settings.values() if setting.positional]
    words = [name.name.upper() if name.default is REQUIRED else f"[{name.name.upper()}]" for name in names]
    return " ".join(["Usage: selfsup", command, *words, "[OPTIONS]"])


def _trainer(method: str, read: Signature) -> Callable[[dict[str, Any]], None]:
    def call(given: dict[str, Any]) -> None:
        _refuse_missing(given)
        _refuse_fixed(given)
        _refuse_recipe(method, given)
        dry = given.pop("dry_run", False)
        from selfsup import results

        with _progress(given, read.accepts) as words:
            if dry:
                results.show_forecast(method, {**given, **words})
                return
            done = selfsup.pretrain(method, **{**given, **words})
        if _is_first():
            results.show("pretrain", done)

    return call


def _extra(read: Signature, *settings: Setting) -> dict[str, Setting]:
    return {setting.name: setting for setting in settings if setting.name not in read.accepts}


@contextlib.contextmanager
def _progress(given: dict[str, Any], accepts: frozenset[str]) -> Iterator[dict[str, Progress]]:
    """Take the settings of the command line itself out of `given`; give the progress, if the function takes one."""
    given.pop("config", None)
    if "progress" not in accepts:
        given.pop("quiet", None)
        yield {}
    elif given.pop("quiet", False) or not _is_first():
        yield {"progress": silent}
    else:
        with Shown() as shown:
            yield {"progress": shown}


def _is_first() -> bool:
    """Whether this process speaks: of those that `torchrun` starts, only the first."""
    return os.environ.get("RANK", "0") == "0"


def _refuse_missing(given: dict[str, Any]) -> None:
    """Refuse folders and files that are not there, and encoders that nobody knows, before torch is imported."""
    for name in SOURCES:
        value = given.get(name)
        if not isinstance(value, str | Path) or values.is_drawn(str(value)) or (name == "init" and value in WAYS):
            continue
        path = Path(value).expanduser()
        if not os.path.lexists(path):
            near = values.close(path.name, [item.name for item in _siblings(path)])
            hint = f"did you mean {str(path.with_name(near))!r}?" if near else "check the path."
            raise InputError(f"There is nothing at {str(value)!r}; {hint}")
    if isinstance(given.get("encoder"), str):
        from selfsup.networks.names import check_encoder_name

        check_encoder_name(given["encoder"])
    if isinstance(given.get("methods"), tuple):
        for name in given["methods"]:
            entry(name)


def _refuse_fixed(given: dict[str, Any]) -> None:
    """Refuse to train an encoder that has no parameters."""
    if isinstance(given.get("encoder"), str):
        from selfsup.networks.names import refuse_training

        refuse_training(given["encoder"])


def _siblings(path: Path) -> list[Path]:
    try:
        return list(path.parent.iterdir())
    except OSError:
        return []


def _refuse_recipe(method: str, given: dict[str, Any]) -> None:
    """Check the recipe as the method will see it; its own checks need no torch."""
    from selfsup.recipe import Recipe

    lengths = [name for name in LENGTHS if given.get(name) is not None]
    if len(lengths) > 1:
        raise InputError(
            f"A run has one length, got {' and '.join('--' + name for name in lengths)}; give one of them."
        )
    before = signatures.recipe_of(method)
    if lengths:
        before = {name: value for name, value in before.items() if name not in LENGTHS}
    changes = {name: value for name, value in given.items() if name in signatures.of_recipe().settings}
    Recipe(**{**before, **changes})


def _named(tokens: list[str]) -> list[str]:
    """Check the names of command and method; take the method from the file of `--config` where none is given."""
    if not tokens or tokens[0].startswith("-"):
        return tokens
    if tokens[0] not in COMMANDS:
        raise InputError(f"There is no command {tokens[0]!r}; {values.nearest(tokens[0], COMMANDS)}")
    if tokens[0] != "pretrain" or (len(tokens) == 2 and tokens[1] in ("--help", "-h")):
        return tokens
    file = _config_of(tokens)
    written = flags.read_settings(file).get("method") if file else None
    if tokens[1:] and not tokens[1].startswith("-"):
        entry(tokens[1])
        if written is not None and written != tokens[1]:
            raise InputError(
                f"{str(file)!r} is of {written!r}, but {tokens[1]!r} was asked for; leave one of them out."
            )
        return tokens
    if not isinstance(written, str):
        raise InputError(f"Name the method first: selfsup pretrain METHOD DATA; METHOD is one of {', '.join(METHODS)}.")
    entry(written)
    return [tokens[0], written, *tokens[1:]]


def _config_of(tokens: Sequence[str]) -> Path | None:
    for token, after in zip(tokens, [*tokens[1:], ""], strict=True):
        if token.startswith("--config="):
            return Path(token.partition("=")[2])
        if token == "--config" and after:
            return Path(after)
    return None


def _sentence(error: CycloptsError) -> str:
    """Put what cyclopts says into one sentence."""
    error.verbose = False
    if isinstance(error, UnusedCliTokensError):
        more = " ".join(map(repr, error.unused_tokens or []))
        return f"What is {more} for? It is more than the command takes; see --help."
    if isinstance(error, MissingArgumentError) and error.argument and not error.argument.tokens and not error.keyword:
        field = error.argument.field_info
        name = field.name.upper() if field.is_positional else error.argument.name
        return f"{' '.join(error.command_chain or ())} needs {name}: {error.argument.parameter.help}"
    text = " ".join(str(error).split())
    return text if not isinstance(error, UnknownOptionError) or "?" in text else f"{text} See --help."
