"""From images to a run folder: what is written, refused, resumed and said."""

import inspect
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import moving
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from selfsup.clips import described
from selfsup.data.grouping import grouped
from selfsup.data.images import open_images
from selfsup.data.store import ImageStore
from selfsup.errors import InputError, Interrupted, TrainingFailed
from selfsup.networks.encoders import load_encoder
from selfsup.progress import Silent
from selfsup.run import Run
from selfsup.training import checkpoint, outcome
from selfsup.training import pretrain as module
from selfsup.training.held_out import hold_out
from selfsup.training.prepare import fingerprint_of, forecast, prepare
from selfsup.training.pretrain import pretrain
from selfsup.training.settings import split

QUICK = {"threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 8, "image_size": 32}


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Give 240 smooth random images."""
    coarse = np.random.default_rng(0).integers(0, 256, (240, 3, 8, 8), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


@pytest.fixture(scope="module")
def finished(pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train a short rotation run."""
    return pretrain("rotation", pictures, out=tmp_path_factory.mktemp("runs") / "short", steps=12, **QUICK)


def test_run_folder_holds_all_its_files(finished: Run) -> None:
    """Settings, encoder, the untrained network, rows, summary, pictures."""
    present = {file.name for file in finished.folder.iterdir()}
    assert present >= {
        "config.yaml", "encoder.safetensors", "encoder.json", "untrained.safetensors", "metrics.jsonl",
        "summary.json", "figures", "skipped.csv", "checkpoint",
    }  # fmt: skip
    assert finished.figures()
    assert [row["step"] for row in finished.metrics() if "kind" not in row] == list(range(1, 13))
    assert any(row.get("kind") == "held_out" for row in finished.metrics())


def test_summary_says_what_it_cost_and_learned(finished: Run) -> None:
    """The headline is measured on images that were held out; arithmetic is counted."""
    summary = finished.summary
    assert summary["steps"] == 12
    assert summary["headline"]["held_out_images"] == 12
    assert 0 <= summary["headline"]["value"] <= 1
    assert summary["chance"] == pytest.approx(math.log(4))
    # four copies of 8 images, forward and backward through the encoder
    assert summary["trunk_gflops"] <= summary["gflops"] < 1.2 * summary["trunk_gflops"]
    assert summary["health"]


def test_files_that_were_skipped_are_listed_in_the_run(tmp_path: Path) -> None:
    """With their names and reasons, in skipped.csv."""
    (tmp_path / "images").mkdir()
    for number, image in enumerate(np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)):
        Image.fromarray(image).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "images" / "empty, or not.jpg").touch()

    run = pretrain("rotation", tmp_path / "images", out=tmp_path / "run", cache=tmp_path / "cache", steps=1, **QUICK)

    assert run.skipped() == [("empty, or not.jpg", "the file is empty")]


def test_finished_run_is_not_trained_again(finished: Run, pictures: np.ndarray) -> None:
    """The same call gives the run that is there."""
    before = (finished.folder / "encoder.safetensors").stat().st_mtime_ns
    again = pretrain("rotation", pictures, out=finished.folder, steps=12, **QUICK)
    assert again == finished
    assert (finished.folder / "encoder.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"lr": 0.05}, "lr"),
        ({"seed": 1}, "seed"),
        ({"flip": False}, "flip"),
        ({"steps": 13}, "steps"),
        ({"encoder": "nin"}, "encoder"),
    ],
)
def test_changed_setting_is_refused_by_name(finished: Run, pictures: np.ndarray, change: dict, named: str) -> None:
    """A run folder belongs to one set of settings; the sentence names the one that differs."""
    with pytest.raises(InputError, match=f"with {named} "):
        pretrain("rotation", pictures, out=finished.folder, **{"steps": 12, **QUICK, **change})


def test_changed_images_are_refused(finished: Run, pictures: np.ndarray) -> None:
    """Other images are another run."""
    with pytest.raises(InputError, match="have changed"):
        pretrain("rotation", pictures[::-1].copy(), out=finished.folder, steps=12, **QUICK)


def test_seed_alone_decides_the_weights(finished: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    """The same seed gives the same bytes, another seed others."""
    same = pretrain("rotation", pictures, out=tmp_path / "same", steps=12, **QUICK)
    other = pretrain("rotation", pictures, out=tmp_path / "other", steps=12, seed=1, **QUICK)
    weights = [(run.folder / "encoder.safetensors").read_bytes() for run in (finished, same, other)]
    assert weights[0] == weights[1] != weights[2]


def test_methods_of_a_seed_start_from_the_same_network(finished: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    """Comparisons are paired by initialisation: the untrained encoder does not depend on the method."""
    other = pretrain("simclr", pictures, out=tmp_path / "simclr", steps=2, **QUICK)
    blank = [(run.folder / "untrained.safetensors").read_bytes() for run in (finished, other)]
    assert blank[0] == blank[1]


def test_interrupted_run_resumes_to_the_same_bytes(finished: Run, pictures: np.ndarray, tmp_path: Path) -> None:
    """Ctrl-C after five steps writes a checkpoint and a sentence; the same call goes on from there."""

    class StopsAtFive(Silent):
        def step(self, what: str, done: int, total: int, row: object) -> None:
            if done == 5:
                import signal

                signal.raise_signal(signal.SIGINT)

    class Counts(Silent):
        steps: ClassVar[list[int]] = []

        def step(self, what: str, done: int, total: int, row: object) -> None:
            self.steps.append(done)

    with pytest.raises(Interrupted, match="step 5 of 12; the same command resumes"):
        pretrain("rotation", pictures, out=tmp_path / "cut", steps=12, progress=StopsAtFive(), **QUICK)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as rows:  # as a run killed after its checkpoint leaves them
        rows.write('{"step": 6, "loss": 99.0, "metrics": {}}\n{"step": 7, "lo')
    resumed = pretrain("rotation", pictures, out=tmp_path / "cut", steps=12, progress=Counts(), **QUICK)
    assert Counts.steps == list(range(6, 13)), "from the newest checkpoint, not from the beginning"
    assert (resumed.folder / "encoder.safetensors").read_bytes() == (
        finished.folder / "encoder.safetensors"
    ).read_bytes()
    assert [row["step"] for row in resumed.metrics() if "kind" not in row] == list(range(1, 13))
    assert [row["loss"] for row in resumed.metrics()] == [row["loss"] for row in finished.metrics()]
    assert [file.stem for file in sorted((resumed.folder / "checkpoint").iterdir())] == ["000000005", "000000012"]


@pytest.mark.parametrize(("change", "says"), [("missing", "does not contain"), ("shape", "has another shape")])
def test_checkpoint_of_other_networks_is_refused(change: str, says: str, pictures: np.ndarray, tmp_path: Path) -> None:
    """One that another version wrote gets a sentence, and the run stays as it is."""
    pretrain("rotation", pictures, out=tmp_path, steps=3, **QUICK)
    (tmp_path / "summary.json").unlink()
    (tmp_path / "encoder.safetensors").unlink()
    file = checkpoint.newest(tmp_path / "checkpoint")
    assert file is not None
    tensors = load_file(file)
    name = next(key for key in tensors if key.endswith("weight"))
    value = tensors.pop(name)
    save_file({**tensors, **({name: value[:1].clone()} if change == "shape" else {})}, file)
    with pytest.raises(InputError, match=rf"does not fit the run's config\.yaml \(.*{says}"):
        pretrain("rotation", pictures, out=tmp_path, steps=3, **QUICK)


def test_a_run_is_finished_once_its_encoder_is_there(
    finished: Run, pictures: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The summary is written last: a stop before it leaves a run that the same call completes, without a step."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outcome, "save_encoder", stop)
        with pytest.raises(KeyboardInterrupt):
            pretrain("rotation", pictures, out=tmp_path, steps=12, **QUICK)
    assert not Run(tmp_path).is_finished
    rows = Run(tmp_path).metrics()

    again = pretrain("rotation", pictures, out=tmp_path, steps=12, **QUICK)

    assert again.metrics() == rows
    for name in ("encoder.safetensors", "untrained.safetensors"):
        assert (again.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_loss_that_is_no_number_keeps_the_last_checkpoint(pictures: np.ndarray, tmp_path: Path) -> None:
    """Training stops with likely causes in words; nothing pretends to be finished."""
    with pytest.raises(TrainingFailed, match=r"learning rate that is too high.*checkpoint, of step"):
        pretrain("rotation", pictures, out=tmp_path / "wild", steps=60, lr=1e30, **QUICK)
    assert not Run(tmp_path / "wild").is_finished
    assert list((tmp_path / "wild" / "checkpoint").glob("*.safetensors"))


def test_batch_shrinks_for_few_images_and_says_so(pictures: np.ndarray) -> None:
    """A quarter of the images, in steps of eight."""
    prepared = prepare("rotation", pictures[:70], steps=1, **{**QUICK, "batch_size": 128})
    assert prepared.settings.recipe.batch_size == 16
    assert any("16 instead of 128" in note for note in prepared.notes)


def test_frames_are_called_frames(pictures: np.ndarray) -> None:
    """Where batches shrink, and where too few are there to hold some out."""
    images = open_images(pictures[:40], 32)
    clips = described(images.pixels, np.arange(40) // 10, np.arange(40) % 10 / 10, np.arange(40) // 10, list("abcd"))

    notes = prepare("rotation", replace(images, clips=clips), steps=1, **{**QUICK, "batch_size": 128}).notes  # type: ignore[arg-type]

    assert "The batch is 8 instead of 128 frames, because there are only 40 usable frames." in notes
    assert "40 frames are too few for some to be held out; the task is judged by what was trained on." in notes


def test_held_out_images_do_not_depend_on_the_order(pictures: np.ndarray) -> None:
    """They are chosen by content, and never trained on."""
    images = open_images(pictures, 32)
    training, held_out = hold_out(images)
    mirrored = hold_out(open_images(pictures[::-1].copy(), 32))[1]
    assert len(held_out) == 12
    assert set(held_out.hashes) == set(mirrored.hashes)
    assert not set(held_out.hashes) & set(training.hashes)


def test_whole_videos_are_held_out(pictures: np.ndarray) -> None:
    """Frames of one video are alike: none is trained on while another is watched; videos that are too long stay."""
    images = open_images(np.concatenate([pictures, pictures[::-1]])[:440], 32)
    source = np.repeat([0, 1, 2, 3, 4, 5], [200, 10, 10, 10, 10, 200])
    clip = np.repeat(np.arange(44), 10)
    clips = described(images.pixels, clip, np.arange(440) % 10 / 10, source, [f"{number}" for number in range(44)])

    training, held_out = hold_out(replace(images, clips=clips))

    assert training.clips is not None
    assert held_out.clips is not None
    assert len(held_out) == 20
    assert len(training) == 420
    assert not set(held_out.clips.source.tolist()) & set(training.clips.source.tolist())
    assert {0, 5} <= set(training.clips.source.tolist())


def test_where_all_videos_are_long_the_shortest_is_held_out_or_none(pictures: np.ndarray) -> None:
    """One long video is better than none, unless it takes more than a fifth of all frames; that is said."""
    images = open_images(np.concatenate([pictures, pictures[::-1]])[:440], 32)

    def held(*lengths: int) -> list[int]:
        clip = np.repeat(np.arange(len(lengths)), lengths)
        source = 2 * clip + 1  # of a selection numbers are missing
        clips = described(images.pixels, clip, np.arange(440) / 10, source, [str(n) for n in range(len(lengths))])
        store = replace(images, clips=clips)
        notes = prepare("rotation", store, steps=1, **QUICK).notes  # type: ignore[arg-type]
        rest, kept = hold_out(store)
        assert len(rest) + len(kept) == 440
        assert any("No video is short enough" in note for note in notes) == (len(kept) == 0)
        return [] if kept.clips is None else sorted(set((kept.clips.source // 2).tolist()))

    assert held(80, 70, 90, 100, 100) == [1]
    assert held(176, 176, 88) == [2]
    assert held(11, 418, 11) == [0, 2]
    assert held(110, 110, 110, 110) == []


def test_what_belongs_together_is_held_out_together(pictures: np.ndarray, tmp_path: Path) -> None:
    """Clips of a film and images of a patient are on one side; too large a group is said to be."""
    names = [f"film{number // 40}/{number:03}.png" for number in range(440)]
    for name, image in zip(names, np.concatenate([pictures, 255 - pictures[:200]]), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / name)
    images = open_images(tmp_path, 32, cache=tmp_path / "cache")
    clip = np.repeat(np.arange(44), 10)
    titles = [f"film{number // 4}/{number}" for number in range(44)]
    clips = described(images.pixels, clip, np.arange(440) % 10 / 10, clip, titles)

    for store in (images, replace(images, clips=clips)):
        said = [prepare("rotation", store, steps=1, group=way, **QUICK) for way in (r"(film\d+)", r"(film\d)", "film")]  # type: ignore[arg-type]
        for prepared in said[:2]:
            sides = [{name.split("/")[0] for name in part.names} for part in (prepared.images, prepared.held_out)]
            assert not sides[0] & sides[1]
        assert len(said[0].held_out) == 40
        assert {name.split("/")[0] for name in said[1].images.names} >= {"film1", "film10"}
        assert len(said[2].held_out) == 0
        assert [note for note in said[2].notes if "No group is small enough to be held out" in note]


def test_another_grouping_is_another_run(pictures: np.ndarray, tmp_path: Path) -> None:
    """A run resumes with the groups it began with, found by the same pattern in the same names."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(pictures[:24]):
        Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{'ab'[number % 2]}{number:02}.png")
    words: dict = {"out": tmp_path / "run", "cache": tmp_path / "cache", "steps": 1, **QUICK}
    run = pretrain("rotation", folder, group="([ab])", **words)

    assert run.config["group"] == "([ab])"
    assert pretrain("rotation", folder, group="([ab])", **words).summary == run.summary
    for other in (None, "(a)"):
        with pytest.raises(InputError, match=r"was started with group '\(\[ab\]\)', now"):
            pretrain("rotation", folder, group=other, **words)
    first, second = (open_images(folder, 32, cache=tmp_path / "cache") for _ in range(2))
    second.names[0], second.names[-1] = second.names[-1], second.names[0]
    assert fingerprint_of(grouped(first, "([ab])")) != fingerprint_of(grouped(second, "([ab])"))
    numbered = (replace(first.select([0, 1, 2]), groups=np.array(groups)) for groups in ([1, 1, 11], [1, 11, 1]))
    assert len(set(map(fingerprint_of, numbered))) == 2
    with pytest.raises(InputError, match="looks at paths of files, which the array has none of"):
        prepare("rotation", pictures, group="([ab])", **QUICK)  # type: ignore[arg-type]


def test_held_out_clips_without_a_question_are_not_looked_at(tmp_path: Path) -> None:
    """The run goes on, and says why the task is judged by what was trained on."""
    film, still = moving.squares(40, side=32, frames=24), moving.squares(2, side=32, frames=24, speed=0.0, seed=1)
    pixels = np.concatenate([film.pixels, still.pixels])
    source = np.repeat(np.arange(42), 24)
    clips = described(pixels, source, np.tile(np.arange(24) / 12, 42), source, [str(n) for n in range(42)])
    # the content of the two that stand still comes first in the order in which videos are held out
    names = [f"{(number + 48) % len(pixels):05}" for number in range(len(pixels))]
    images = ImageStore(pixels, names, names, [], [], "film", [None] * len(names), clips=clips)
    said: list[str] = []

    class Heard(Silent):
        def note(self, text: str) -> None:
            said.append(text)

    run = pretrain("shuffle", images, out=tmp_path / "run", steps=2, progress=Heard(), **QUICK)  # type: ignore[arg-type]

    assert any("not watched on held-out clips" in text for text in said)
    assert not [row for row in run.metrics() if row.get("kind") == "held_out"]
    assert (run.folder / "encoder.safetensors").is_file()


def test_other_scenes_beside_the_images_are_noticed(pictures: np.ndarray) -> None:
    """A run that goes on would else learn from others."""
    images = open_images(pictures, 32)

    def name(key: str, own: ImageStore = images) -> str:
        return fingerprint_of(replace(own, beside=SimpleNamespace(key=key)))  # type: ignore[arg-type]

    assert len({fingerprint_of(images), name("one"), name("other"), name("one", images.select(range(100)))}) == 4
    assert name("one") == name("one")


def test_held_out_images_come_with_scenes_of_their_own(pictures: np.ndarray) -> None:
    """Every twentieth scene is never trained on."""

    class Scenes:
        def __init__(self, numbers: np.ndarray) -> None:
            self.numbers = numbers

        def __len__(self) -> int:
            return len(self.numbers)

        def select(self, numbers: np.ndarray) -> "Scenes":
            return Scenes(self.numbers[numbers])

    training, held_out = hold_out(replace(open_images(pictures, 32), beside=Scenes(np.arange(100))))  # type: ignore[arg-type]

    assert held_out.beside.numbers.tolist() == [19, 39, 59, 79, 99]  # type: ignore[union-attr]
    assert sorted([*training.beside.numbers, *held_out.beside.numbers]) == list(range(100))  # type: ignore[union-attr]


def test_saved_statistics_are_those_of_clean_images(finished: Run, pictures: np.ndarray) -> None:
    """Batch norms of a finished run were averaged over unaugmented images: doing so again changes nothing."""
    from selfsup.training.build import with_clean_norms

    images = prepare("rotation", pictures, steps=12, **QUICK).images
    again = with_clean_norms(load_encoder(finished.folder), images).state_dict()
    saved = {key: value for key, value in load_encoder(finished.folder).state_dict().items() if "running" in key}
    assert saved
    for key, value in saved.items():
        torch.testing.assert_close(again[key], value, rtol=1e-3, atol=1e-5)


def test_forecast_speaks_of_time_disk_and_memory(pictures: np.ndarray) -> None:
    """A dry run knows what a run will take."""
    prepared = prepare("rotation", pictures, steps=1000, **QUICK)
    found = forecast(prepared)
    assert found["minutes"] > 0
    assert found["disk_mb"] > 0
    assert found["memory_mb"] > 0
    assert found["settings"]["steps"] == 1000
    times = {"seconds_per_step": 0.03, "seconds_to_start": 60.0, "rounds": 3, "seconds_per_round": 20.0}
    known = replace(prepared, resolved={**prepared.resolved, **times})
    assert forecast(known)["minutes"] == pytest.approx(0.5 + 1 + 1)


def test_budget_becomes_steps_before_the_first(pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A time is turned into a number of steps by what a step takes here."""
    from selfsup.training import prepare as preparing

    monkeypatch.setattr(preparing, "seconds_per_step", lambda *_, **__: [0.5])
    assert prepare("rotation", pictures, budget="20s", **QUICK).resolved["steps"] == 40


def test_init_starts_from_given_weights(finished: Run, pictures: np.ndarray) -> None:
    """The encoder of another run is where training begins."""
    from selfsup.training.build import build

    file = finished.folder / "encoder.safetensors"
    prepared = prepare("rotation", pictures, init=file, steps=1, **QUICK)
    started = build(prepared.settings, prepared.images).method.encoder.state_dict()
    expected = load_encoder(finished.folder).state_dict()
    weights = [key for key in expected if not key.endswith("num_batches_tracked")]
    assert all(torch.equal(started[key], expected[key]) for key in weights)


def test_prepare_takes_what_pretrain_takes() -> None:
    """The two lists of arguments stand twice: names, types and defaults are the same."""
    own, other = (inspect.signature(function).parameters for function in (pretrain, prepare))
    assert set(own) - set(other) == {"out", "checkpoint_every", "track"}
    assert set(other) - set(own) == {"folder"}
    for name in set(own) & set(other):
        assert (own[name].default, own[name].annotation) == (other[name].default, other[name].annotation), name


def test_the_untrained_network_is_random_whatever_training_began_with(
    finished: Run, pictures: np.ndarray, tmp_path: Path
) -> None:
    """The control of a run with `init` is that of a run without."""
    run = pretrain("rotation", pictures, out=tmp_path, init=finished.folder / "encoder.safetensors", steps=1, **QUICK)

    assert (run.folder / "untrained.safetensors").read_bytes() == (
        finished.folder / "untrained.safetensors"
    ).read_bytes()


def test_settings_nobody_knows_get_a_hint(pictures: np.ndarray) -> None:
    """A misspelled setting is named, with the nearest one."""
    with pytest.raises(InputError, match="did you mean flip"):
        pretrain("rotation", pictures, flipp=True)


@pytest.mark.parametrize(
    ("method", "setting", "value", "says"),
    [
        ("inpainting", "mask", "hill", "inpainting knows no mask 'hill'; choose one of centre, block, region"),
        ("jigsaw", "head", "cnf", "jigsaw knows no head 'cnf'; did you mean cfn?"),
        ("rotation", "optimizer", "adamw2", "rotation knows no optimizer 'adamw2'; did you mean adamw?"),
    ],
)
def test_words_that_are_no_choice_are_refused(
    method: str, setting: str, value: str, says: str, pictures: np.ndarray
) -> None:
    """Whoever calls from Python gets the sentence too, before anything is read; None is what it always was."""
    with pytest.raises(InputError, match=re.escape(says)):
        pretrain(method, pictures, **{setting: value})
    assert split("jigsaw", {"head": None, "optimizer": None})[1]["head"] is None


def test_summary_is_plain_json(finished: Run) -> None:
    """Readers in other languages need no extensions."""
    json.loads((finished.folder / "summary.json").read_text(), parse_constant=lambda word: pytest.fail(word))


def test_pause_between_checkpoints_is_a_time(pictures: np.ndarray) -> None:
    """Odd times are refused before anything is decoded."""
    assert module.LOOKS > 0
    with pytest.raises(InputError, match="10m"):
        pretrain("rotation", pictures, checkpoint_every="soon")
