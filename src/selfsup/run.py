"""The files of a run folder: what is written, and how it is read back. Needs no torch."""

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from selfsup.errors import InputError


@dataclass(frozen=True)
class Run:
    """A folder that `pretrain` wrote, finished or not, or `baseline`, which trains nothing and leaves no log.

    Files: `config.yaml` (settings, taken again by `--config`), `encoder.safetensors` and `encoder.json`,
    `untrained.safetensors` (the same network before training), `checkpoint/`, `metrics.jsonl`,
    `summary.json`, `figures/*.png`, `evaluation/*.json`, `skipped.csv`, `report.html`; of trackers,
    `tracking.json` and what they keep: `tensorboard/`, `wandb/`, `mlflow.db`.
    """

    folder: Path

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Find a run on disk."""
        found = cls(Path(folder))
        if not (found.folder / "config.yaml").is_file():
            raise InputError(
                f"{str(folder)!r} is not a run folder (it has no config.yaml); give a folder made by selfsup pretrain."
            )
        return found

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the run; `resolved` holds what was measured or counted before the first step."""
        return read_yaml(self.folder / "config.yaml")

    @property
    def arm(self) -> str:
        """Name what was trained or measured: the method, or the baseline."""
        config = self.config if self._has_config else {}
        return str(config.get("method") or config.get("name") or self.folder.name)

    @property
    def is_baseline(self) -> bool:
        """Whether nothing was trained."""
        return self._has_config and "name" in self.config and "method" not in self.config

    @property
    def _has_config(self) -> bool:
        return (self.folder / "config.yaml").is_file()

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end and the encoder was written."""
        return (self.folder / "summary.json").is_file()

    @property
    def summary(self) -> dict[str, Any]:
        """What the finished run cost and how well it solved its task."""
        file = self.folder / "summary.json"
        if not file.is_file():
            raise InputError(f"The run {str(self.folder)!r} is not finished; the command that started it resumes it.")
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def metrics(self) -> list[dict[str, Any]]:
        """Rows logged while training, in order of step."""
        return read_lines(self.folder / "metrics.jsonl")

    def figures(self) -> list[Path]:
        """Pictures of the task and its prediction."""
        return sorted((self.folder / "figures").glob("*.png"))

    def evaluations(self) -> list[dict[str, Any]]:
        """Results of `evaluate`, by file name."""
        files = sorted((self.folder / "evaluation").glob("*.json"))
        return [json.loads(file.read_text(encoding="utf-8")) for file in files]

    def skipped(self) -> list[tuple[str, str]]:
        """Files that could not be used, with the reason."""
        file = self.folder / "skipped.csv"
        if not file.is_file():
            return []
        with file.open(newline="", encoding="utf-8", errors="surrogateescape") as lines:
            return [(row["name"], row["reason"]) for row in csv.DictReader(lines)]


def write_text(file: Path, text: str) -> None:
    """Write a whole file or none of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as opened:
        opened.write(text)
        opened.flush()
        os.fsync(opened.fileno())
    temporary.replace(file)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically; not-a-number and infinity become null, which every reader understands."""
    write_text(file, json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def write_yaml(file: Path, content: Mapping[str, Any]) -> None:
    """Write YAML atomically, in the order given."""
    write_text(file, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))


def read_yaml(file: Path) -> dict[str, Any]:
    """Read a mapping from YAML."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise InputError(f"{str(file)!r} is not valid YAML{line}; correct it or leave it out.") from error
    if not isinstance(content, dict):
        raise InputError(f"{str(file)!r} must hold 'name: value' lines, got {type(content).__name__}.")
    return content


def write_skipped(file: Path, skipped: Iterable[tuple[str, str]]) -> None:
    """List unusable files as CSV."""
    from io import StringIO

    text = StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["name", "reason"])
    writer.writerows(skipped)
    write_text(file, text.getvalue())


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Read JSON lines; a last line cut by a kill is left out."""
    if not file.is_file():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


class MetricsLog:
    """Appends rows to `metrics.jsonl`, after cutting it back to the step a run resumes from."""

    def __init__(self, file: Path, step: int) -> None:
        kept = [row for row in read_lines(file) if row["step"] <= step]
        write_text(file, "".join(json.dumps(_finite(row)) + "\n" for row in kept))
        self._opened = file.open("a", encoding="utf-8")

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._opened.write(json.dumps(_finite(row), allow_nan=False) + "\n")
        self._opened.flush()

    def close(self) -> None:
        """Close the file."""
        self._opened.close()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
