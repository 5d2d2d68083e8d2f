"""Videos are judged clip by clip: features are means over frames, and clips of one video never straddle a split."""

import csv

import numpy as np
import pytest
from films import write_film
from PIL import Image

from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.evaluation.embed import embed
from selfsup.evaluation.evaluate import evaluate
from selfsup.evaluation.features import stage_features, vectors
from selfsup.evaluation.predict import predict
from selfsup.evaluation.retrieval import neighbour_sheet
from selfsup.networks.encoders import build_encoder, load_encoder, save_encoder
from selfsup.run import Run, write_yaml

SIDE = 32
EYE = np.eye(24, dtype=np.float32)


def waves(seed: int, upright: bool, count: int) -> list[np.ndarray]:
    """Stripes that drift: upright or lying."""
    draw = np.random.default_rng(seed)
    place = np.arange(SIDE)
    phase, colour = draw.uniform(0, 6), draw.uniform(0.4, 1, 3)
    frames = []
    for number in range(count):
        row = 127 + 120 * np.sin(place * 1.2 + phase + 0.4 * number)
        picture = np.broadcast_to(row[None] if upright else row[:, None], (SIDE, SIDE))
        frames.append((picture[..., None] * colour).astype(np.uint8))
    return frames


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two classes of 12 videos of 3 to 6 frames."""
    root = tmp_path_factory.mktemp("v") / "films"
    for seed in range(24):
        kind = "upright" if seed % 2 else "lying"
        write_film(root / kind / f"{seed}.mkv", waves(seed, bool(seed % 2), 3 + seed % 4), codec="ffv1", layout="bgr0")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder as pretrain leaves it, with weights that were not trained."""
    folder = tmp_path_factory.mktemp("runs") / "rotation-films"
    save_encoder(build_encoder("small", SIDE, seed=1), folder)
    save_encoder(build_encoder("small", SIDE, seed=0), folder / "other")
    (folder / "other" / "encoder.safetensors").rename(folder / "untrained.safetensors")
    write_yaml(folder / "config.yaml", {"method": "rotation", "seed": 0})
    return Run(folder)


@pytest.fixture(scope="module")
def result(run, films):
    return evaluate(run, films, label_budgets=(5, None), draws=1, cache=films.parent / "cache")


def test_features_of_a_clip_are_means_over_its_frames(run, films):
    """Whatever the batches, a row is the mean of its frames' rows, at every stage and of the vector."""
    frames = open_images(films, SIDE, cache=films.parent / "cache")
    encoder = load_encoder(run.folder)
    single = stage_features(encoder, frames, batch_size=7)
    clips = stage_features(encoder, frames, batch_size=7, per_clip=True)
    starts = frames.clips.starts
    assert single.keys() == clips.keys()
    for stage, rows in single.items():
        naive = np.stack([rows[starts[c] : starts[c + 1]].mean(0) for c in range(24)])
        np.testing.assert_allclose(clips[stage], naive, rtol=1e-4, atol=1e-5)
    flat = vectors(encoder, frames)
    naive = np.stack([flat[starts[c] : starts[c + 1]].mean(0) for c in range(24)])
    np.testing.assert_allclose(vectors(encoder, frames, batch_size=5, per_clip=True), naive, rtol=1e-4, atol=1e-5)


def test_counts_are_clips(result):
    """Pool, test and labels count clips, beside the untrained network, and a note says so."""
    assert result["labels"]["pool"] + result["labels"]["test"] == 24
    assert result["labels"]["things"] == "clips"
    assert [arm["name"] for arm in result["arms"]] == ["rotation", "untrained"]
    assert {row["probe"] for row in result["arms"][0]["rows"]} == {"linear", "knn10", "knn20"}
    assert any("What is counted is clips" in note for note in result["labels"]["notes"])


def test_what_can_be_seen_in_frames_is_found(result):
    """Upright and lying stripes are told apart by a linear probe on clips, even of random features."""
    best = max(row["balanced_accuracy"] for row in result["arms"][0]["rows"] if row["per_class"] is None)
    assert best > 0.9


def test_vectors_and_predictions_are_of_clips(run, films, result, tmp_path):
    """A row of embed and a line of predict is a clip, under its name."""
    file = embed(run, films, tmp_path / "e.npz", cache=films.parent / "cache")
    found = predict(run, films, tmp_path / "p.csv", cache=films.parent / "cache")
    with np.load(file) as written:
        names = written["names"].tolist()
        assert written["vectors"].shape[0] == 24
    with (tmp_path / "p.csv").open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert names == [row["path"] for row in rows]
    assert names[0] == "lying/0.mkv"
    assert found.images == sum(found.of_class.values()) == 24
    assert np.mean([row["label"] == row["path"].split("/")[0] for row in rows]) > 0.8


def test_frames_in_folders_are_clips_to_those_that_read_clips(run, tmp_path):
    """A run of shuffle gives a vector for each folder of frames, a run of rotation one for each image."""
    for seed in range(2):
        (tmp_path / "f" / f"{seed}").mkdir(parents=True)
        for number, frame in enumerate(waves(seed, True, 8)):
            Image.fromarray(frame).save(tmp_path / "f" / f"{seed}" / f"{number}.png")
    shuffle = tmp_path / "shuffle"
    save_encoder(load_encoder(run.folder), shuffle)
    write_yaml(shuffle / "config.yaml", {"method": "shuffle", "seed": 0})

    names = [
        np.load(embed(one, tmp_path / "f", tmp_path / "e.npz", cache=tmp_path / "cache"))["names"].tolist()
        for one in (run, shuffle)
    ]

    assert (len(names[0]), names[1]) == (16, ["0", "1"])


def test_neighbours_are_of_other_clips(run, films, tmp_path, monkeypatch):
    """A sheet of neighbours shows a frame of each clip: the next frame would always be nearest."""
    shown = []
    monkeypatch.setattr("selfsup.evaluation.retrieval.vectors", lambda _, images, **__: shown.append(images) or EYE)
    frames = open_images(films, SIDE, cache=films.parent / "cache")
    neighbour_sheet(load_encoder(run.folder), frames, tmp_path / "n.png", queries=2, k=2)
    assert shown[0].names == list(frames.clips.names)


def test_protocols_of_images_are_refused(run, films):
    """The papers' probes are of images."""
    with pytest.raises(InputError, match=r"labels of .* are of clips"):
        evaluate(run, films, protocols=("zhang",), cache=films.parent / "cache")
