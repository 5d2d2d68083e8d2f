"""Everything a run was asked for, resolved once, written down and compared when it resumes."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from selfsup.errors import InputError
from selfsup.recipe import Recipe
from selfsup.values import nearest

_INNER = ("recipe", "arguments", "channels")
"""Fields that are no settings of their own."""
_OF_SOME = ("single_image", "single_noise", "frame_rate", "group")
"""Fields that are left out where they do not matter, so that runs begun before they were known still resume."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one run; two runs with equal settings, data and threads end with equal weights."""

    method: str
    data: str
    encoder: str
    image_size: int
    store_size: int
    seed: int
    device: str
    precision: str
    layout: str
    threads: int
    init: str | None
    """A file of weights, a way to make filters from images (`networks.filters`), or None: random weights."""
    recipe: Recipe
    arguments: Mapping[str, Any]
    """Of the method's constructor."""
    channels: tuple[Sequence[float], Sequence[float]] | None = None
    """Mean and deviation of each channel, measured on signals; None: those that the encoder of images has."""
    single_image: int | None = None
    """How many crops of the images are trained on; None: the images themselves."""
    single_noise: float | None = None
    """Deviation of the noise in these crops; None: no noise."""
    frame_rate: float | None = None
    """Frames of videos that are taken in a second; None: the usual number."""
    group: str | None = None
    """Regular expression that finds in a path what belongs together; None: each video or image is alone."""

    def as_config(self) -> dict[str, Any]:
        """Give flat names and values, as `--config` reads them."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _INNER}
        own = {name: value for name, value in own.items() if value is not None or name not in _OF_SOME}
        recipe = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self.recipe).items()}
        length = next(name for name in ("steps", "budget", "epochs") if recipe[name] is not None)
        recipe = {name: v for name, v in recipe.items() if name == length or name not in ("steps", "budget", "epochs")}
        arguments = {name: str(v) if isinstance(v, Path) else v for name, v in self.arguments.items()}
        return {**own, **recipe, **arguments}

    def with_length(self, steps: int, batch_size: int) -> "Settings":
        """Fix the number of steps and the batch."""
        return replace(self, recipe=replace(self.recipe, steps=steps, budget=None, batch_size=batch_size))


def split(method: str, given: Mapping[str, Any]) -> tuple[Recipe, dict[str, Any]]:
    """Sort settings into the method's recipe and its constructor's arguments.

    Raises:
        InputError: for a name that neither knows, or a word that is none of a setting's choices.
    """
    from selfsup import methods

    kind = methods.load(method)
    recipe_names = {field.name for field in fields(Recipe)}
    parameters = inspect.signature(kind).parameters
    own = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    for name in given:
        if name not in recipe_names and name not in own:
            near = difflib.get_close_matches(name, [*recipe_names, *own], n=1)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join([*own, *sorted(recipe_names)])}."
            raise InputError(f"{method} has no setting {name!r}; {hint}")
    kinds = {**get_type_hints(Recipe), **get_type_hints(kind.__init__)}
    for name, value in given.items():
        _refuse_unknown_choice(method, name, value, kinds[name])
    lengths = [name for name in ("epochs", "steps", "budget") if given.get(name) is not None]
    if len(lengths) > 1:
        raise InputError(f"A run has one length, got {' and '.join(lengths)}; give one of them.")
    changes = {name: value for name, value in given.items() if name in recipe_names and value is not None}
    if lengths:
        changes = {"steps": None, "budget": None, **changes}
    if "milestones" in changes:
        changes["milestones"] = tuple(changes["milestones"])
    return replace(kind.recipe, **changes), {**own, **{n: v for n, v in given.items() if n in own}}


def _refuse_unknown_choice(method: str, name: str, value: Any, kind: Any) -> None:
    """Refuse what a `Literal`, or one that may be None, does not list; other types are their owners' business."""
    members = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    listed = [one for one in members if one is not NoneType]
    if value is None or not all(get_origin(one) is Literal for one in listed):
        return
    choices = [choice for one in listed for choice in get_args(one)]
    if value not in choices:
        hint = nearest(str(value), choices)
        raise InputError(f"{method} knows no {name.replace('_', '-')} {value!r}; {hint}")


def refuse_changes(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Compare the settings of a run on disk with those asked for.

    Raises:
        InputError: naming the first setting that differs.
    """
    for name in dict.fromkeys([*now, *(n for n in before if n != "resolved")]):
        value = now.get(name)
        if before.get(name) != value:
            raise InputError(
                f"The run {str(folder)!r} was started with {name.replace('_', '-')} {before.get(name)!r}, "
                f"now {value!r} was given; use the old value to resume it, or another --out."
            )
