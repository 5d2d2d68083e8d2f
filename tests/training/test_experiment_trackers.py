"""Trackers get what the journal gets, go on with the same run, and never stop one."""

import importlib
import os
import signal
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import selfsup
from selfsup import cli
from selfsup.errors import InputError, Interrupted
from selfsup.progress import Silent
from selfsup.run import MetricsLog, read_lines
from selfsup.training.pretrain import pretrain
from selfsup.training.tracking import Journal, check_trackers, scalars

QUICK: dict[str, Any] = {
    "steps": 6, "batch_size": 8, "image_size": 32, "threads": 1, "precision": "float32", "layout": "contiguous",
}  # fmt: skip
MODULES = {"tensorboard": "torch.utils.tensorboard", "wandb": "wandb", "mlflow": "mlflow"}
SILENCED = ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK")


class Service:
    """Three trackers that remember, by run, what they were told; `broken` makes every call of a kind fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[dict[str, Any]] = []
        self.rows: list[tuple[str, int, dict[str, float]]] = []
        self.ends: list[object] = []
        self.broken: set[str] = set()
        tensorboard = SimpleNamespace(SummaryWriter=self.writer)
        wandb = SimpleNamespace(init=self.init, Settings=dict)
        entities = SimpleNamespace(Metric=lambda *given: given, Param=lambda *given: given)
        mlflow = SimpleNamespace(MlflowClient=self.client, entities=entities)
        for name, content in ((MODULES["tensorboard"], tensorboard), ("wandb", wandb), ("mlflow", mlflow)):
            module = ModuleType(name)
            module.__dict__.update(vars(content))
            monkeypatch.setitem(sys.modules, name, module)

    def call(self, kind: str) -> None:
        if kind in self.broken:
            raise OSError("the disk\nis full")

    def end(self, finished: bool) -> None:
        self.call("close")
        self.ends.append(finished)

    def writer(self, folder: str, purge_step: int) -> Any:
        self.call("open")
        self.opened.append({"run": folder, "purge": purge_step})

        def add(name: str, value: float, step: int) -> None:
            self.call("write")
            self.rows.append((folder, step, {name: value}))

        return SimpleNamespace(add_scalar=add, add_text=lambda *_: None, close=lambda: self.call("close"))

    def init(self, **given: Any) -> Any:
        self.call("open")
        self.opened.append({"run": given["id"], **given})

        def log(values: dict[str, float], step: int) -> None:
            self.call("write")
            self.rows.append((given["id"], step, values))

        return SimpleNamespace(log=log, finish=lambda exit_code: self.end(exit_code == 0))

    def client(self, tracking_uri: str) -> Any:
        self.call("open")

        def start(name: str) -> Any:
            self.opened.append({"run": name, "uri": tracking_uri})
            return SimpleNamespace(info=SimpleNamespace(run_id=name))

        def write(run: str, metrics: Any = (), params: Any = ()) -> None:
            self.call("write" if metrics else "")
            for name, value, _, step in metrics:
                self.rows.append((run, step, {name: value}))

        return SimpleNamespace(
            get_experiment_by_name=lambda _: None,
            create_experiment=lambda *_, **__: "1",
            create_run=lambda *_, run_name: start(f"{run_name} {len(self.opened)}"),  # another id each time
            update_run=lambda run, status: start(run),
            log_batch=write,
            set_terminated=lambda _, status: self.end(status == "FINISHED"),
        )


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SILENCED:
        monkeypatch.setenv(name, "")  # so that it is put back even if it was not there
        monkeypatch.delenv(name)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    for name in ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    return Service(monkeypatch)


class Told(Silent):
    """Remembers notes, and stops a run at a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.notes: list[str] = []
        self.stop_at = stop_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def step(self, what: str, done: int, total: int, row: object) -> None:
        if done == self.stop_at:
            signal.raise_signal(signal.SIGINT)


def test_a_stopped_run_is_one_run_for_each_tracker(service, tmp_path):
    """Each row of the record reaches each once, under one name; the settings of the run know nothing of it."""
    pictures = np.random.default_rng(0).integers(0, 256, (200, 3, 36, 36), dtype=np.uint8)
    with pytest.raises(Interrupted):
        pretrain("rotation", pictures, out=tmp_path / "a", track=list(MODULES), progress=Told(stop_at=4), **QUICK)
    assert service.ends == [False, False]
    run = pretrain("rotation", pictures, out=tmp_path / "a", track=list(MODULES), **QUICK)

    expected: dict[int, dict[str, float]] = {}
    for row in run.metrics():
        expected.setdefault(row["step"], {}).update(scalars(row))
    assert {"train/loss", "train/lr", "train/accuracy", "held_out/loss"} <= set(expected[6])
    names = {opened["run"] for opened in service.opened}
    assert (len(service.opened), len(names)) == (6, 3)
    for name in names:
        found: dict[int, dict[str, float]] = {}
        for to, step, values in service.rows:
            if to == name:
                assert not set(values) & set(found.get(step, {})), "told once"
                found.setdefault(step, {}).update(values)
        assert found == expected
    assert service.ends[2:] == [True, True]
    assert [opened["purge"] for opened in service.opened if "purge" in opened] == [1, 5]
    assert not {"track", *MODULES} & set(run.config)


def journal(folder: Path, *names: str, progress: Told | None = None, step: int = 0) -> Journal:
    return Journal(MetricsLog(folder / "metrics.jsonl", step), names, folder, {"seed": 0}, step, progress or Told())


def test_nothing_needs_a_network(service, tmp_path, monkeypatch):
    """W&B is offline and MLflow a file of the run folder, unless the environment says otherwise."""
    journal(tmp_path, "wandb", "mlflow")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    journal(tmp_path, "wandb", "mlflow")

    wandb, mlflow, own_wandb, own_mlflow = service.opened
    assert (wandb["mode"], wandb["dir"]) == ("offline", str(tmp_path))
    assert mlflow["uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert own_wandb["mode"] is None
    assert own_mlflow["uri"] == "http://server"


@pytest.mark.parametrize("own", [None, "false"])
def test_mlflow_sends_no_usage_data(monkeypatch, own):
    """Said before it is imported, which is when it asks; whoever wants to send some says so in the environment."""
    if own is not None:
        for name in SILENCED:
            monkeypatch.setenv(name, own)
    seen: list[list[str | None]] = []
    monkeypatch.setattr(importlib, "import_module", lambda _: seen.append([os.environ.get(name) for name in SILENCED]))

    check_trackers(["wandb", "mlflow"])

    assert seen == [[own or "false", own, own], [own or "false", own or "true", own or "true"]]


@pytest.mark.parametrize("kind", ["open", "write", "close"])
def test_a_tracker_that_fails_costs_one_warning(service, tmp_path, kind):
    """The record is whole, and the sentence is one line."""
    service.broken = {kind}
    progress = Told()

    with journal(tmp_path, *MODULES, progress=progress) as both:
        for step in (1, 2, 3):
            both.write({"step": step, "loss": 1.0 / step, "metrics": {}})

    assert [note.split()[2] for note in progress.notes] == list(MODULES)
    assert all("the disk is full" in note and "\n" not in note for note in progress.notes)
    assert [row["loss"] for row in read_lines(tmp_path / "metrics.jsonl")] == [1.0, 1 / 2, 1 / 3]


@pytest.mark.parametrize("name", MODULES)
def test_a_missing_package_is_one_sentence_with_its_extra(tmp_path, monkeypatch, name):
    """Before the images are looked at, or anything is written."""
    monkeypatch.setitem(sys.modules, MODULES[name], None)

    with pytest.raises(InputError, match=rf"pip install 'selfsup\[{name}\]'") as caught:
        pretrain("rotation", tmp_path / "no images", out=tmp_path / "run", track=[name], **QUICK)

    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_package_that_breaks_is_one_sentence_too(monkeypatch):
    """Packages that do not fit each other fail in many ways."""

    def broken(name: str) -> None:
        raise AttributeError("module 'numpy' has\nno attribute 'float'")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(InputError, match=r"imported \(module 'numpy' has no attribute 'float'\); try"):
        check_trackers("wandb")


@pytest.mark.parametrize("flags", [["--track", "wandb,mlflow"], ["--track", "wandb", "--track", "mlflow"]])
def test_the_command_line_takes_several(tmp_path, monkeypatch, flags):
    """Separated by commas, or one after the other."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setitem(vars(selfsup), "pretrain", lambda *_, **given: asked.append(given))
    monkeypatch.setattr("selfsup.results.show", lambda *_: None)

    assert cli.run(["pretrain", "rotation", str(tmp_path), *flags]) == 0

    assert asked[0]["track"] == ("wandb", "mlflow")


def test_a_dry_run_tracks_nothing(tmp_path, monkeypatch, capsys):
    """The forecast is of the run alone."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("selfsup.training.prepare.prepare", lambda *_, **given: asked.append(given))
    forecast = {"minutes": 1.0, "disk_mb": 1.0, "settings": {}}
    monkeypatch.setattr("selfsup.training.prepare.forecast", lambda _: forecast)

    assert cli.run(["pretrain", "rotation", str(tmp_path), "--track", "wandb", "--dry-run", "--quiet"]) == 0

    assert set(asked[0]) == {"folder", "progress"}
    assert "would take" in capsys.readouterr().out


def test_extras_are_declared():
    """The sentence names what pyproject.toml has."""
    import tomllib

    file = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    assert all(any(line.startswith(name) for line in declared[name]) for name in MODULES)


def test_unknown_trackers_get_a_hint():
    """One name or several."""
    with pytest.raises(InputError, match="did you mean wandb"):
        check_trackers("wandbb")


def test_rows_become_numbers_by_name():
    """Of training and of held-out images; what is no number is left out."""
    row = {"step": 3, "kind": "held_out", "loss": 1.5, "chance": None, "metrics": {"accuracy": 0.5}}

    assert scalars(row) == {"held_out/loss": 1.5, "held_out/accuracy": 0.5}
