import csv
import json

import numpy as np
import pytest
import torch
from labelled_samples import stripes
from PIL import Image

from selfsup.errors import InputError
from selfsup.evaluation.embed import embed
from selfsup.evaluation.evaluate import evaluate, table
from selfsup.evaluation.predict import predict
from selfsup.evaluation.saved import SavedProbe
from selfsup.networks.encoders import build_encoder, load_encoder, save_encoder
from selfsup.run import Run, write_yaml

NAMES = ('lying, "=1+1"', "slanted", "upright")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A folder of class folders with a broken file in it."""
    folder = tmp_path_factory.mktemp("labelled")
    pixels, labels = stripes(90)
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        file = folder / NAMES[label] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(picture.transpose(1, 2, 0)).save(file)
    (folder / NAMES[0] / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut short")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Decode once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as pretrain leaves it, with weights that were not trained."""
    folder = tmp_path_factory.mktemp("runs") / "rotation-stripes"
    save_encoder(build_encoder("small", 32, seed=1), folder)
    save_encoder(build_encoder("small", 32, seed=0), folder / "other")
    (folder / "other" / "encoder.safetensors").rename(folder / "untrained.safetensors")
    write_yaml(folder / "config.yaml", {"method": "rotation", "seed": 7})
    return Run(folder)


@pytest.fixture(scope="module")
def result(run, labelled, cache):
    return evaluate(run, labelled, label_budgets=(1, 5, 500, None), draws=2, cache=cache)


def test_the_trained_network_stands_beside_the_untrained(result):
    """Two arms with the same stages, budgets, draws and probes; every number is plain JSON."""
    arms = {arm["name"]: arm for arm in result["arms"]}
    places = [
        [(row["stage"], row["per_class"], row["draw"], row["probe"]) for row in arm["rows"]] for arm in arms.values()
    ]

    assert list(arms) == ["rotation", "untrained"]
    assert arms["rotation"]["seed"] == 7
    assert places[0] == places[1]
    assert arms["rotation"]["rows"] != arms["untrained"]["rows"]
    assert len(places[0]) == 4 * 5 * 3  # stages, budgets and draws, probes
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_what_is_returned_is_written(result, run):
    """The file in the run folder holds the same rows."""
    (written,) = run.evaluations()

    assert written["arms"] == result["arms"]
    assert written["labels"]["classes"] == list(NAMES)
    assert written["labels"]["pool"] + written["labels"]["test"] == 90
    assert [name for name, _ in written["labels"]["skipped"]] == [f"{NAMES[0]}/broken.png"]
    assert any("500" in note for note in written["labels"]["notes"])


def test_intervals_hold_their_means(result):
    """Per budget for the chosen stage and each stage, and the paired gain over the untrained network."""
    chosen = [item for item in result["intervals"] if item["stage"] == "chosen"]

    assert [(item["arm"], item["per_class"]) for item in chosen] == [
        (arm, n) for arm in ("rotation", "untrained") for n in (1, 5, None)
    ]
    for item in result["intervals"]:
        assert 0 <= item["low"] <= item["mean"] <= item["high"] <= 1
        assert ("vs_untrained" in item) == (item["arm"] != "untrained")
    own, other = chosen[2], chosen[5]
    assert own["vs_untrained"]["mean"] == pytest.approx(own["mean"] - other["mean"])
    assert result["chosen"]["rotation"]["all"] in result["arms"][0]["stages"]
    assert set(result["chosen"]["rotation"]) == {"1", "5", "all"}


def test_the_table_has_a_row_per_arm_and_budget(result):
    """A head and six rows of text."""
    rows = table(result)

    assert len(rows) == 7
    assert rows[3][:2] == ("rotation", "all")
    assert "%" in rows[3][3]
    assert rows[-1][-1] == ""


def test_the_winning_probe_sorts_a_folder(result, run, labelled, cache, tmp_path):
    """Its test accuracy is the evaluation's, the CSV has a line per readable image, broken ones are named."""
    saved = SavedProbe.read(run.folder)
    found = predict(run, labelled, tmp_path / "out.csv", cache=cache)
    with found.file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    right = [row["path"].startswith(row["label"] + "/") for row in rows]

    wanted = ("rotation", None, "chosen")
    (all_labels,) = (i for i in result["intervals"] if (i["arm"], i["per_class"], i["stage"]) == wanted)
    assert saved.balanced_accuracy == pytest.approx(all_labels["mean"])
    assert saved.labels == result["labels"]["pool"]
    assert saved.stage == result["chosen"]["rotation"]["all"]
    assert len(rows) == found.images == 90
    assert np.mean(right) > 0.8
    assert all(1 / 3 <= float(row["confidence"]) <= 1 for row in rows)
    assert sum(found.of_class.values()) == 90
    assert [skipped.name for skipped in found.skipped] == [f"{NAMES[0]}/broken.png"]


def test_vectors_are_written_without_pickles(run, labelled, cache, tmp_path):
    """Names and vectors come back in the same order."""
    file = embed(run, labelled, tmp_path / "all.npz", cache=cache)
    with np.load(file, allow_pickle=False) as arrays:
        names, vectors = arrays["names"], arrays["vectors"]

    assert len(names) == len(set(names)) == 90
    assert vectors.shape == (90, load_encoder(run.folder).vector_width)
    assert f"{NAMES[1]}/2.png" in names or f"{NAMES[1]}/1.png" in names
    assert np.isfinite(vectors).all()


def test_the_untrained_network_can_be_built_again(run, labelled, cache, tmp_path):
    """A run without untrained weights gets them from its name and seed, and says so."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for name in ("encoder.json", "encoder.safetensors", "config.yaml"):
        (folder / name).write_bytes((run.folder / name).read_bytes())
    result = evaluate(folder, labelled, label_budgets=(5,), draws=1, cache=cache, out=tmp_path / "own.json")

    assert (tmp_path / "own.json").is_file()
    assert any("untrained" in note for note in result["labels"]["notes"])


def test_protocols_stand_beside_the_probes(run, labelled, cache, tmp_path):
    """Their rows carry their names, for both arms, and how they differ from the paper."""
    result = evaluate(
        run, labelled, label_budgets=(None,), draws=1, protocols=("rotnet-fc",), protocol_epochs=1, cache=cache,
        out=tmp_path / "own.json",
    )  # fmt: skip
    for arm in result["arms"]:
        (row,) = (row for row in arm["rows"] if row["probe"] == "rotnet-fc")
        assert row["stage"] == "stage2"
        assert arm["protocols"]["rotnet-fc"]["epochs"] == 1
        assert not arm["protocols"]["rotnet-fc"]["as_published"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"label_budgets": (0, 5)}, "at least 1"),
        ({"draws": 0}, "draws"),
        ({"protocols": ("rotnett",)}, "did you mean rotnet"),
    ],
)
def test_impossible_settings_are_refused_early(run, labelled, settings, words):
    """Before any image is read."""
    with pytest.raises(InputError, match=words):
        evaluate(run, labelled / "nowhere", **settings)


def test_a_run_without_a_probe_says_how_to_get_one(tmp_path, labelled):
    """Prediction needs an evaluation first."""
    with pytest.raises(InputError, match="selfsup evaluate"):
        predict(tmp_path, labelled)
    with pytest.raises(InputError, match="npz"):
        embed(tmp_path, labelled, tmp_path / "vectors.csv")


def test_evaluation_does_not_touch_the_run(run, result):
    """The encoder on disk is still the one that was saved."""
    own, expected = load_encoder(run.folder).state_dict(), build_encoder("small", 32, seed=1).state_dict()
    assert all(torch.equal(own[key], expected[key]) for key in expected)
