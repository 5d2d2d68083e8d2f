"""Sections of pictures: what each task looked like and how well it was solved, and nearest neighbours."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from selfsup.methods import METHODS
from selfsup.report import charts
from selfsup.report.arms import Arms
from selfsup.report.blocks import Block, Gallery, Section
from selfsup.report.folders import RunFiles, by_arm
from selfsup.report.pictures import Picture, embed
from selfsup.report.values import mapping, number
from selfsup.report.words import SPACE, listed, percent, plural, sentence, short, visible

MOST_PICTURES = 6  # per arm


def tasks_section(runs: Sequence[RunFiles], arms: Arms) -> Section:
    """Show for each task what the network was asked, how well it answered, and pictures of both."""
    blocks: list[Block] = []
    for name, own in by_arm(runs).items():
        shown = next((run for run in own if run.figures), own[0])
        said = [_task_words(own[0])] if _task_words(own[0]) else []
        said += headline_sentences(own)
        pictures, problems = _embedded(shown.figures)
        if not pictures and not problems:
            said.append("No pictures were drawn.")
        if len(own) > 1 and pictures:
            said.append(f"The pictures are of seed {shown.seed}; the other runs keep theirs in their folders.")
        blocks.append(Gallery(arms[name].label, charts.swatch(arms[name]), said + problems, pictures))
    if not blocks:
        return Section("tasks", "What each task looked like", ["No run has begun yet."])
    opening = "What the network was shown and what it made of it, on images it was not trained on where there are any."
    return Section("tasks", "What each task looked like", [opening], blocks)


def gallery(run: RunFiles, arms: Arms) -> Gallery:
    """Show the pictures of a run that has no task."""
    pictures, problems = _embedded(run.figures)
    return Gallery(arms[run.arm].label, charts.swatch(arms[run.arm]), problems, pictures)


def _task_words(run: RunFiles) -> str:
    method = str(run.config.get("method", run.arm))
    return sentence(f"The task: {METHODS[method].summary}") if method in METHODS else ""


def headline_sentences(runs: Sequence[RunFiles]) -> list[str]:
    """Say how well the runs of one task solved it, beside a blind guess; nothing where none has finished."""
    solved = [(run, mapping(run.summary.get("headline"))) for run in runs]
    solved = [(run, headline) for run, headline in solved if number(headline.get("value")) is not None]
    if not solved:
        return []
    first = solved[0][1]
    name = visible(first.get("name", "result")).replace("_", " ")
    values = listed([_metric(name, number(headline["value"]) or 0.0) for _, headline in solved])
    seeds = f" (seeds {listed([str(run.seed) for run, _ in solved])})" if len(solved) > 1 else ""
    images = number(first.get("held_out_images"))
    things = visible(first.get("things", "images"))
    where = f" on {plural(int(images), f'held-out {things[:-1]}')}" if images else f" on the {things} it was trained on"
    chance = number(first.get("chance"))
    if chance is not None:
        against = f"; a blind guess has {_metric(name, chance)}"
    else:
        against = f"; {'higher' if first.get('rises', True) else 'lower'} is better"
    return [f"{_metric_name(name)}{where}: {values}{seeds}{against}."]


def _metric_name(name: str) -> str:
    name = re.sub(r"\b(psnr|ssim|mse|mae|nmi)\b", lambda found: found[0].upper(), name)
    return name[:1].upper() + name[1:]


def _metric(name: str, value: float) -> str:
    if re.search(r"accura|share|top.?\d|auroc|agreement", name):
        return percent(value)
    return short(value) + (f"{SPACE}dB" if "psnr" in name else "")


def neighbours_section(pictures: Iterable[tuple[str, Path]], arms: Arms) -> Section:
    """Show nearest-neighbour sheets, side by side for all arms."""
    sheets: list[Picture] = []
    said: list[str] = []
    for name, path in pictures:
        embedded, problems = _embedded([path])
        sheets += [sheet._replace(caption=arms[name].label, key=charts.swatch(arms[name])) for sheet in embedded]
        said += problems
    if not sheets and not said:
        return Section("neighbours", "Nearest neighbours", ["No nearest-neighbour sheets were drawn."])
    opening = (
        "In each row the first image is the question; the others are the images whose features are most similar to it. "
        "No labels were used."
    )
    return Section("neighbours", "Nearest neighbours", [opening, *said], [Gallery("", Markup(""), [], sheets)])


def neighbour_pictures(runs: Sequence[RunFiles], sheets: Sequence[Path] = ()) -> list[tuple[str, Path]]:
    """Give each sheet with its arm: the first of each arm's runs, and those of the advice (`ARM-neighbours.png`)."""
    found = [(path.stem.removesuffix("-neighbours"), path) for path in sheets]
    named = {name for name, _ in found}
    for name, own in by_arm(runs).items():
        found += [(name, path) for run in own for path in run.sheets if name not in named][:1]
    order = list(by_arm(runs))
    return sorted(found, key=lambda pair: order.index(pair[0]) if pair[0] in order else len(order))


def _embedded(paths: Sequence[Path]) -> tuple[list[Picture], list[str]]:
    pictures, problems = [], []
    for path in paths[:MOST_PICTURES]:
        try:
            pictures.append(embed(path))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            problems.append(f"The picture {visible(path.name)} could not be read.")
    if len(paths) > MOST_PICTURES:
        problems.append(f"{len(paths) - MOST_PICTURES} more pictures are in {visible(paths[0].parent.name)}/.")
    return pictures, problems
