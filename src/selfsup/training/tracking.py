"""Copies of the journal for TensorBoard, Weights & Biases and MLflow; `metrics.jsonl` stays the record.

None of them is needed, and none can stop a run: one that fails is let go with a warning. All work without a network.

A run that was killed goes on from its checkpoint. `metrics.jsonl` and TensorBoard then drop the rows past it; MLflow
and W&B keep them, and a step done twice has two rows in MLflow.
"""

import importlib
import json
import os
import re
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import time
from typing import Any, Protocol

from selfsup.errors import InputError
from selfsup.progress import Progress
from selfsup.run import MetricsLog, write_json
from selfsup.values import nearest

MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
"""What each tracker imports; the extra that installs it has the tracker's name."""
SILENCE = {
    "mlflow": {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"},
    "wandb": {"WANDB_ERROR_REPORTING": "false"},
}
"""Variables of the environment that keep a tracker from sending data about its use and its errors."""
PROJECT = "selfsup"
"""Project or experiment under which the runs stand, unless the environment names another."""


class Tracker(Protocol):
    """A place that takes numbers by name and step."""

    def write(self, values: dict[str, float], step: int) -> None:
        """Take the values of one row."""

    def close(self, finished: bool) -> None:
        """Finish writing; `finished` says whether training came to its end."""


class Journal:
    """Writes rows to `metrics.jsonl`, then to the trackers that still work.

    Args:
        log: the record.
        names: of the trackers.
        folder: of the run.
        config: settings of the run, shown by the trackers.
        step: the one the run goes on from; 0 at its beginning.
        progress: told when a tracker fails.
    """

    def __init__(
        self,
        log: MetricsLog,
        names: Iterable[str],
        folder: Path,
        config: Mapping[str, Any],
        step: int,
        progress: Progress,
    ) -> None:
        self._log, self._progress = log, progress
        self._trackers: dict[str, Tracker] = {}
        for name in names:
            self._guarded(name, partial(self._open, name, folder, config, step))

    def write(self, row: Mapping[str, Any]) -> None:
        """Append one row."""
        self._log.write(row)
        values, step = scalars(row), int(row["step"])
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, partial(tracker.write, values, step))

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._log.close()
        for name, tracker in list(self._trackers.items()):
            self._guarded(name, partial(tracker.close, kind is None))

    def _open(self, name: str, folder: Path, config: Mapping[str, Any], step: int) -> None:
        self._trackers[name] = OPEN[name](folder, config, step)

    def _guarded(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # whatever it is, the run goes on
            self._trackers.pop(name, None)
            self._progress.note(
                f"Tracking with {name} has stopped ({_line(error)}); metrics.jsonl of the run holds every row."
            )


def check_trackers(names: str | Sequence[str]) -> tuple[str, ...]:
    """Give the names of trackers, each once, when all of them can be imported.

    Raises:
        InputError: for a name nobody knows, or a package that is not installed, with the extra that installs it.
    """
    wanted = tuple(dict.fromkeys([names] if isinstance(names, str) else names))
    for name in wanted:
        if name not in MODULES:
            raise InputError(f"There is no tracker {name!r}; {nearest(name, MODULES)}")
        # MLflow (since 3.2) and W&B send such data unless they are told not to before they are imported
        for variable, value in SILENCE.get(name, {}).items():
            os.environ.setdefault(variable, value)
        try:
            importlib.import_module(MODULES[name])
        except Exception as error:  # packages that do not fit each other fail in many ways
            raise InputError(
                f"Tracking with {name} needs a package that could not be imported ({_line(error)}); "
                f"try `pip install 'selfsup[{name}]'`, or leave {name} out of --track."
            ) from error
    return wanted


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """Flatten a row of the journal: `train/loss`, `train/accuracy`, `held_out/loss`; what is no number is left out."""
    kind = row.get("kind", "train")
    flat = {**row.get("metrics", {}), **{name: value for name, value in row.items() if name != "step"}}
    return {
        f"{kind}/{name}": float(value)
        for name, value in flat.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


class _TensorBoard:
    """Events in the folder `tensorboard` of the run; those past the step a run goes on from are purged."""

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        module = importlib.import_module(MODULES["tensorboard"])
        self._writer = module.SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        if step == 0:
            self._writer.add_text("settings", "\n".join(f"    {name}: {value}" for name, value in config.items()))

    def write(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self, finished: bool) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases, offline in the run folder unless WANDB_MODE says otherwise."""

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        module = importlib.import_module(MODULES["wandb"])
        # the same id in every piece of a run: pieces written offline become one when they are synced
        identity = _known(folder, "wandb") or secrets.token_hex(8)
        self._run = module.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.resolve().name,
            id=identity,
            resume="allow",
            dir=str(folder),
            config=dict(config),
            mode=None if os.environ.get("WANDB_MODE") else "offline",
            settings=module.Settings(silent=True, console="off"),
        )
        _remember(folder, "wandb", identity)

    def write(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class _Mlflow:
    """A run of MLflow in `mlflow.db` of the run folder, unless MLFLOW_TRACKING_URI names another store.

    A file of SQLite, because MLflow refuses stores of plain files since 3.13 (mlflow/mlflow pull request 23637).
    """

    def __init__(self, folder: Path, config: Mapping[str, Any], step: int) -> None:
        module = importlib.import_module(MODULES["mlflow"])
        self._metric = module.entities.Metric
        place = folder.resolve()
        given = os.environ.get("MLFLOW_TRACKING_URI")
        self._client = module.MlflowClient(tracking_uri=given or f"sqlite:///{place / 'mlflow.db'}")
        known = _known(folder, "mlflow")
        if known is not None:
            self._client.update_run(known, status="RUNNING")
            self._run = known
            return
        self._run = self._client.create_run(
            self._experiment(None if given else (place / "mlflow").as_uri()), run_name=place.name
        ).info.run_id
        _remember(folder, "mlflow", self._run)
        settings = [module.entities.Param(name, str(value)[:500]) for name, value in config.items()]
        self._client.log_batch(self._run, params=settings)

    def _experiment(self, artifacts: str | None) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        given: str = found.experiment_id if found else self._client.create_experiment(name, artifact_location=artifacts)
        return given

    def write(self, values: dict[str, float], step: int) -> None:
        now = int(time() * 1000)
        # the characters MLflow takes in a name
        named = {re.sub(r"[^\w\-. /]", "_", name): value for name, value in values.items()}
        self._client.log_batch(
            self._run, metrics=[self._metric(name, value, now, step) for name, value in named.items()]
        )

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if finished else "KILLED")


OPEN: dict[str, Callable[[Path, Mapping[str, Any], int], Tracker]] = {
    "tensorboard": _TensorBoard,
    "wandb": _Wandb,
    "mlflow": _Mlflow,
}


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _known(folder: Path, tracker: str) -> str | None:
    """Find the name a tracker gave this run when it began."""
    return _identities(folder).get(tracker)


def _remember(folder: Path, tracker: str, identity: str) -> None:
    write_json(folder / "tracking.json", {**_identities(folder), tracker: identity})


def _identities(folder: Path) -> dict[str, str]:
    file = folder / "tracking.json"
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found
