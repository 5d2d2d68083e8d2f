"""Read what is on disk of a run or of an advice, and say in sentences what is not.

Nothing here fails on a missing, half-written or broken file: the report of a run that is still
going, or that died, is the one a person needs most.
"""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from selfsup.errors import InputError
from selfsup.report.values import Json, mapping, rows
from selfsup.report.words import visible


@dataclass(frozen=True)
class RunFiles:
    """What a run folder holds; an empty mapping or list where a file is missing."""

    folder: Path
    arm: str
    seed: int | None
    config: Json
    encoder: Json
    summary: Json
    metrics: list[Json]
    figures: list[Path]
    sheets: list[Path]
    evaluations: dict[str, Json]
    skipped: list[tuple[str, str]]
    problems: list[str] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """A run writes its summary last."""
        return bool(self.summary)

    @property
    def is_baseline(self) -> bool:
        """Whether nothing was trained."""
        return "name" in self.config and "method" not in self.config

    @property
    def name(self) -> str:
        """Name the run for a reader: its method and its seed."""
        return self.arm if self.seed is None else f"{self.arm}, seed {self.seed}"


@dataclass(frozen=True)
class AdviceFiles:
    """What an advice folder holds."""

    folder: Path
    plan: Json
    results: Json
    verdict: Json
    controls: dict[str, Json]
    runs: list[RunFiles]
    sheets: list[Path]
    problems: list[str] = field(default_factory=list)


def read_folder(folder: Path) -> RunFiles | AdviceFiles:
    """Read an advice folder or a run folder, whichever it is.

    Raises:
        InputError: if the folder is missing, or holds nothing that either command writes.
    """
    if not folder.is_dir():
        raise InputError(f"There is no folder {visible(folder)}; give the folder that pretrain or advise wrote.")
    if any((folder / name).exists() for name in ("verdict.json", "results.json", "plan.json", "trials")):
        return read_advice(folder)
    if any((folder / name).exists() for name in ("config.yaml", "metrics.jsonl", "summary.json", "encoder.json")):
        return read_run(folder)
    raise InputError(
        f"{visible(folder)} is neither a run nor an advice: it has no config.yaml, plan.json or verdict.json; "
        "give the folder that pretrain or advise wrote."
    )


def read_run(folder: Path, arm: str | None = None, seed: int | None = None) -> RunFiles:
    """Read a run folder; the name of the arm defaults to the method's."""
    problems: list[str] = []
    config = _read_yaml(folder / "config.yaml", problems)
    summary = _read_json(folder / "summary.json", problems)
    evaluations = {path.stem: _read_json(path, problems) for path in sorted(folder.glob("evaluation/*.json"))}
    config_seed = config.get("seed")
    return RunFiles(
        folder=folder,
        arm=str(arm or config.get("method") or config.get("name") or summary.get("method") or folder.name),
        seed=seed if seed is not None else (config_seed if isinstance(config_seed, int) else None),
        config=config,
        encoder=_read_json(folder / "encoder.json", problems),
        summary=summary,
        metrics=_read_rows(folder / "metrics.jsonl", problems),
        figures=sorted(folder.glob("figures/*.png")),
        sheets=_sheets(folder),
        evaluations={name: content for name, content in evaluations.items() if content},
        skipped=_read_skipped(folder / "skipped.csv", problems),
        problems=problems,
    )


def read_advice(folder: Path) -> AdviceFiles:
    """Read an advice folder with all its trials, finished or not."""
    problems: list[str] = []
    results = _read_json(folder / "results.json", problems)
    controls = {path.stem: _read_json(path, problems) for path in sorted(folder.glob("controls/*.json"))}
    return AdviceFiles(
        folder=folder,
        plan=_read_json(folder / "plan.json", problems),
        results=results,
        verdict=_read_json(folder / "verdict.json", problems),
        controls=controls,
        runs=_read_trials(folder, results),
        sheets=_sheets(folder),
        problems=problems,
    )


def _read_trials(folder: Path, results: Json) -> list[RunFiles]:
    """Read the runs that results.json lists, then those on disk that it does not list yet."""
    found: dict[Path, RunFiles] = {}
    for row in rows(results.get("runs")):
        path = _locate(folder, str(row.get("folder", "")))
        if path is not None and path.resolve() not in found:
            seed = row.get("seed")
            found[path.resolve()] = read_run(path, _text(row.get("arm")), seed if isinstance(seed, int) else None)
    for path in sorted(folder.glob("trials/*")):
        if path.is_dir() and path.resolve() not in found:
            named = re.fullmatch(r"(.+)-seed(\d+)", path.name)
            arm, seed = (named[1], int(named[2])) if named else (None, None)
            found[path.resolve()] = read_run(path, arm, seed)
    return list(found.values())


def _locate(folder: Path, written: str) -> Path | None:
    """Find a trial as written, or beside the results where the whole folder has moved."""
    if not written:
        return None
    candidates = [folder / written, Path(written), folder / "trials" / Path(written).name]
    return next((path for path in candidates if path.is_dir()), None)


def reported_runs(found: AdviceFiles) -> list[RunFiles]:
    """Leave out the run that only screened a method, where the method has others that are reported."""
    screening = found.plan.get("screening_seed")
    reported = [run for run in found.runs if screening is None or run.seed != screening]
    arms = {run.arm for run in reported}
    return [run for run in found.runs if run in reported or run.arm not in arms]


def by_arm(runs: Sequence[RunFiles]) -> dict[str, list[RunFiles]]:
    """Group runs by arm, in the order in which the arms first appear."""
    grouped: dict[str, list[RunFiles]] = {}
    for run in runs:
        grouped.setdefault(run.arm, []).append(run)
    return grouped


def seeds_of(found: AdviceFiles) -> set[int | None]:
    """Give the seeds of which results are reported; the run that only screens methods is not one of them."""
    seeds = {run.seed for run in reported_runs(found)}
    return (seeds - {found.plan.get("screening_seed")}) or seeds


def _text(content: object) -> str | None:
    return content if isinstance(content, str) and content else None


def _sheets(folder: Path) -> list[Path]:
    """List the sheets of nearest neighbours."""
    return sorted([*folder.glob("sheets/*.png"), *folder.glob("evaluation/*neighbours*.png")])


def _read_json(path: Path, problems: list[str]) -> Json:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        problems.append(f"{visible(path.name)} could not be read ({visible(error)}); what it holds is missing here.")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{visible(path.name)} holds no mapping; what it holds is missing here.")
    return mapping(content)


def _read_yaml(path: Path, problems: list[str]) -> Json:
    if not path.is_file():
        return {}
    try:
        return mapping(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        problems.append(f"{visible(path.name)} is not valid YAML; the settings are missing here.")
        return {}


def _read_rows(path: Path, problems: list[str]) -> list[Json]:
    """Read JSON lines; a last line that is being written is no problem, others are counted."""
    if not path.is_file():
        return []
    found: list[Json] = []
    broken = 0
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for place, line in enumerate(lines):
        try:
            found.append(mapping(json.loads(line)))
        except ValueError:
            broken += place < len(lines) - 1
    if broken:
        problems.append(f"{broken} of {len(lines)} lines of {visible(path.name)} could not be read.")
    return [row for row in found if row]


def _read_skipped(path: Path, problems: list[str]) -> list[tuple[str, str]]:
    """Read skipped.csv (name, reason), with or without a header line."""
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
            found = [(row[0], ", ".join(row[1:])) for row in csv.reader(file) if row]
    except (OSError, csv.Error) as error:
        problems.append(f"{visible(path.name)} could not be read ({visible(error)}).")
        return []
    return found[1:] if found and found[0] == ("name", "reason") else found
