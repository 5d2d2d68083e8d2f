"""Signatures read from source agree with those that Python sees."""

import dataclasses
import inspect
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import selfsup
from selfsup import flags, methods, signatures
from selfsup.cli import COMMANDS, place
from selfsup.flags import Section
from selfsup.recipe import Recipe
from selfsup.signatures import REQUIRED, Setting

FUNCTIONS = [command for command in COMMANDS if command != "methods"]


@pytest.mark.parametrize("command", FUNCTIONS)
def test_source_says_what_python_sees_of_functions(command):
    """Names, order and defaults of what a command line can set are those of the imported function."""
    read = signatures.of_function(*place(command))
    name = place(command)[1]
    seen = inspect.signature(getattr(selfsup, name)).parameters

    named = [one for one in seen.values() if one.kind is not one.VAR_KEYWORD]
    assert read.accepts == {one.name for one in named}
    assert [one.name for one in named if one.name in read.settings] == list(read.settings)
    for setting in read.settings.values():
        default = seen[setting.name].default
        assert setting.default == (REQUIRED if default is inspect.Parameter.empty else default), setting.name
        assert setting.help, f"{name} does not document {setting.name}"


@pytest.mark.parametrize("command", FUNCTIONS)
def test_every_function_can_be_called_from_a_command_line(command):
    """Each required parameter has a type that text can fill."""
    read = signatures.of_function(*place(command))
    seen = inspect.signature(getattr(selfsup, place(command)[1])).parameters

    required = [one.name for one in seen.values() if one.default is one.empty and one.kind is not one.VAR_KEYWORD]
    assert set(required) <= set(read.settings)


@pytest.mark.parametrize("name", methods.METHODS)
def test_source_says_what_python_sees_of_methods(name):
    """The constructor's hyperparameters, all documented, and the recipe of the class."""
    method = methods.load(name)
    read = signatures.of_method(name)
    seen = [p for p in inspect.signature(method).parameters.values() if p.kind is p.KEYWORD_ONLY]

    assert [(setting.name, setting.default) for setting in read.settings.values()] == [
        (p.name, p.default) for p in seen
    ]
    assert all(setting.help for setting in read.settings.values())
    assert {s.name: s.default for s in signatures.of_recipe(name).settings.values()} == vars(method.recipe)
    assert read.summary == inspect.getdoc(method).splitlines()[0]


def test_recipe_is_read_whole():
    read = signatures.of_recipe().settings
    kinds = typing.get_type_hints(Recipe)

    assert list(read) == [field.name for field in dataclasses.fields(Recipe)]
    assert {name: setting.annotation for name, setting in read.items()} == kinds
    assert all(setting.help for setting in read.values())


@pytest.mark.parametrize("name", methods.METHODS)
def test_no_two_sources_share_a_flag(name):
    """Function, constructor and recipe become one line of flags: a shared name would set the wrong thing."""
    names = [*signatures.of_function(*place("pretrain")).accepts]
    names += [*signatures.of_method(name).settings, *signatures.of_recipe(name).settings, "config", "quiet", "dry_run"]

    assert len(names) == len(set(names))


def test_a_shared_flag_is_refused_when_commands_are_built():
    seed = Setting("seed", int, 0, "of draws.", False)

    with pytest.raises(LookupError, match="share the name seed"):
        flags.command("", "", [Section("One", {"seed": seed}), Section("Other", {"seed": seed})], print)


def module(tmp_path: Path, monkeypatch, text: str) -> str:
    """Make a module of ours of this text."""
    file = tmp_path / "made.py"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setattr(signatures, "_file", lambda name: file)
    signatures._tree.cache_clear()
    return "selfsup.made"


def test_what_no_command_line_can_fill_is_left_out(tmp_path, monkeypatch):
    """Arrays and callbacks are no flags; a union keeps the members that text can fill."""
    name = module(
        tmp_path,
        monkeypatch,
        "LIMIT = 3\n"
        "Source = str | Path | np.ndarray\n"
        "def work(data: Source, model: Encoder, *, size: 'int | Tensor | None' = LIMIT * 2, call: Callable = print,\n"
        "         out: Path = Path('x'), pairs: tuple[int, float] = (1, 2 / 4), odd: int = f()) -> None:\n"
        '    """Work.\n\n    Args:\n        data: what,\n            on two lines.\n        size: how big: very.\n\n'
        '    Raises:\n        KeyError: never.\n    """\n',
    )

    read = signatures.of_function(name, "work")
    signatures._tree.cache_clear()

    assert {s.name: s.annotation for s in read.settings.values()} == {
        "data": str,
        "size": int | None,
        "out": Path,
        "pairs": tuple[int, float],
        "odd": int,
    }
    assert [s.default for s in read.settings.values()] == [REQUIRED, 6, Path("x"), (1, 0.5), "f()"]
    assert read.settings["data"].help == "what, on two lines."
    assert read.settings["size"].help == "how big: very."
    assert read.summary == "Work."
    assert [s.name for s in read.settings.values() if s.positional] == ["data"]


def test_public_functions_load_when_asked_for():
    """`import selfsup` costs nothing; every public name can be had, and unknown ones are refused as usual."""
    code = "import sys, selfsup; dir(selfsup); print('torch' in sys.modules, 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.split() == ["False"] * 2

    for name in selfsup.__all__:
        assert callable(getattr(selfsup, name)) or name == "__version__"
    with pytest.raises(AttributeError, match="no attribute 'pretrian'"):
        selfsup.pretrian  # noqa: B018 - asking is the test
