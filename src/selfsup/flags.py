"""From settings to flags: a function that cyclopts can call, and values from a YAML file for flags not given."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter as Py
from inspect import Signature as PySignature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from cyclopts import App, Group, Parameter, Token
from cyclopts.argument import ArgumentCollection

from selfsup import values
from selfsup.errors import InputError
from selfsup.signatures import REQUIRED, Setting

CONFIG = Setting(
    "config",
    Path | None,
    None,
    "YAML file of settings, such as a run's config.yaml; flags given go before it.",
    False,
)
LENGTHS = ("steps", "budget", "epochs")
"""A run has one of these: one that is given replaces whatever a file says of any."""
NOT_SETTINGS = ("method", "resolved")
"""What a run's config.yaml holds beside settings: the command's name, and what was measured."""
METAVARS = {int: "INT", float: "NUMBER", str: "TEXT", Path: "PATH"}


class Section(NamedTuple):
    """Settings that stand together in the help."""

    title: str
    settings: Mapping[str, Setting]


def command(
    summary: str, description: str, sections: Sequence[Section], call: Callable[[dict[str, Any]], None]
) -> Callable[..., None]:
    """Give a function with one parameter per setting; it hands `call` what was given, and only that.

    Raises:
        LookupError: if two sections have a setting of the same name.
    """
    taken: dict[str, Py] = {}
    first = Group("Input", sort_key=-1)
    for number, section in enumerate(sections):
        group = Group(section.title, sort_key=number)
        for name, setting in section.settings.items():
            if name in taken:
                raise LookupError(f"two sources of settings share the name {name}")
            taken[name] = _parameter(setting, first if setting.positional else group)
    ordered = sorted(taken.values(), key=lambda one: (one.kind, one.default is not Py.empty))

    signature = PySignature(ordered)

    def run(*positional: Any, **named: Any) -> None:
        call(dict(signature.bind(*positional, **named).arguments))

    run.__doc__ = "\n\n".join(filter(None, (summary, description)))
    run.__annotations__ = {one.name: one.annotation for one in ordered}
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def from_file(_: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Fill flags that were not given from the file of `--config`, as words of the command line.

    Raises:
        InputError: if the file is missing or broken, or holds what the command does not take.
    """
    by_name = {argument.field_info.name: argument for argument in arguments}
    if "config" not in by_name or not by_name["config"].tokens:
        return
    file = Path(by_name["config"].tokens[-1].value)
    content = read_settings(file)
    _refuse_unknown(content, by_name, commands, file)
    if any(by_name[name].tokens for name in LENGTHS if name in by_name):
        content = {name: value for name, value in content.items() if name not in LENGTHS}
    for name in [name for name in LENGTHS if content.get(name) is not None][1:]:
        del content[name]
    for name, value in content.items():
        argument = by_name[name]
        if not argument.tokens and not (name in LENGTHS and value is None):
            argument.append(Token(keyword=argument.name, value=values.write(value), source=str(file)))


def read_settings(file: Path) -> dict[str, Any]:
    """Read the settings of a YAML file; names may have dashes or underscores."""
    from selfsup.run import read_yaml  # only now: YAML costs a tenth of the time to --help

    if not file.is_file():
        raise InputError(f"There is no file {str(file)!r}; --config takes a YAML file, such as a run's config.yaml.")
    return {str(name).replace("-", "_"): value for name, value in read_yaml(file).items()}


def _refuse_unknown(
    content: dict[str, Any], known: Mapping[str, object], commands: tuple[str, ...], file: Path
) -> None:
    for name in NOT_SETTINGS:
        content.pop(name, None)
    for name, value in content.items():
        if name not in known or name == "config":
            hint = values.nearest(name, [other for other in known if other != "config"])
            raise InputError(f"{str(file)!r} has {name!r}, which {' '.join(commands)} does not take; {hint}")
        if isinstance(value, dict):
            raise InputError(f"{str(file)!r} has a block under {name!r}; it takes one value.")


def _parameter(setting: Setting, group: Group) -> Py:
    kind, required = setting.annotation, setting.default is REQUIRED
    details = Parameter(
        help=setting.help,
        converter=_converter(kind),
        metavar=_metavar(kind),
        show_default=False if required or setting.default in (None, ()) else _shown(setting.default),
        negative=() if setting.default is False else None,
        group=group,
    )
    return Py(
        setting.name,
        Py.POSITIONAL_OR_KEYWORD if setting.positional and not _is_many(kind) else Py.KEYWORD_ONLY,
        default=Py.empty if required else None,
        annotation=Annotated[_hint(kind), details],
    )


def _shown(default: Any) -> Callable[[Any], str]:
    text = f"{default:g}" if isinstance(default, float) else values.write(default)
    return lambda _: text


def _converter(kind: Any) -> Callable[[Any, Sequence[Token]], Any]:
    """Read values ourselves: cyclopts would round 3.5 to 4 where a whole number is meant."""

    def convert(_: Any, tokens: Sequence[Token]) -> Any:
        return values.read(kind, ",".join(token.value for token in tokens))

    return convert


def _hint(kind: Any) -> Any:
    """Give the type by which cyclopts tells how many words belong to a flag."""
    members = [one for one in _members(kind) if one is not type(None)]
    if members == [bool] or get_origin(members[0]) is Literal:
        return kind
    return tuple[str, ...] if _is_many(kind) else str


def _members(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _is_many(kind: Any) -> bool:
    return any(get_origin(one) is tuple for one in _members(kind))


def _metavar(kind: Any) -> str | None:
    for one in _members(kind):
        if get_origin(one) is tuple:
            return f"{_metavar(get_args(one)[0]) or 'TEXT'},..."
        if one in METAVARS:
            return METAVARS[one]
    return None
