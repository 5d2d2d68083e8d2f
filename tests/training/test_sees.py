"""What a method's encoder sees is the same in training, in the control beside it, and wherever it is used."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch

from selfsup import methods
from selfsup.advice.arms import untrained_of, untrained_that_sees
from selfsup.data.images import open_images
from selfsup.evaluation.embed import embed
from selfsup.evaluation.evaluate import evaluate
from selfsup.evaluation.predict import predict
from selfsup.networks.encoders import build_encoder, load_encoder
from selfsup.training.pretrain import pretrain
from selfsup.training.restored import restored


@pytest.mark.parametrize(
    ("method", "sees", "arguments"),
    [
        ("colorization", "lightness", {}),
        ("splitbrain", "halves", {}),
        ("deepcluster", "edges", {"sees": "edges"}),
        ("deepcluster", "colour", {"sees": "colour"}),
    ],
)
def test_a_run_sees_the_same_from_first_to_last(method: str, sees: str, arguments: dict, tmp_path: Path) -> None:
    """Trained, untrained, restored, evaluated, embedded: always what the method, or its argument, says."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
    np.save(tmp_path / "images.npy", images)
    for place, image in enumerate(images):
        write(tmp_path / "labelled" / f"class{place % 2}" / f"{place}.png", image)
    quick = {"threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 8, "image_size": 32}
    quick |= arguments
    run = pretrain(method, tmp_path / "images.npy", out=tmp_path / "run", steps=2, seed=5, cache=tmp_path, **quick)

    first = build_encoder("small", 32, seed=5, sees=sees)
    trained, untrained = load_encoder(run.folder), load_encoder(run.folder / "untrained.safetensors")
    assert (trained.sees, untrained.sees) == (sees, sees)
    pairs = zip(untrained.parameters(), first.parameters(), trained.parameters(), strict=True)
    assert all(torch.equal(blank, start) and not torch.equal(blank, moved) for blank, start, moved in pairs)

    store = open_images(tmp_path / "images.npy", 32, cache=tmp_path)
    assert restored(run, store, torch.device("cpu")).encoder.sees == sees

    asked = {"label_budgets": [None], "draws": 1, "cache": tmp_path}
    kept = scores(evaluate(run, tmp_path / "labelled", **asked))
    (run.folder / "untrained.safetensors").unlink()  # evaluation builds it again, from the same images
    assert scores(evaluate(run, tmp_path / "labelled", **asked)) == kept
    assert predict(run, tmp_path / "labelled", cache=tmp_path).images == 60
    with np.load(embed(run, tmp_path / "images.npy", cache=tmp_path)) as arrays:
        assert arrays["vectors"].shape == (60, trained.vector_width)


def scores(result: dict) -> list[tuple]:
    """Give what every probe of every stage of the untrained network reaches."""
    (untrained,) = [arm for arm in result["arms"] if arm["name"] == "untrained"]
    return [(row["stage"], row["probe"], row["accuracy"], row["lambda"]) for row in untrained["rows"]]


def write(file: Path, image: np.ndarray) -> None:
    """Write one image."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(file)


def test_the_argument_decides_for_all_who_ask() -> None:
    """Where a method has one, its value or its default; else what the class says."""
    default = inspect.signature(methods.load("deepcluster")).parameters["sees"].default
    assert methods.sees("deepcluster", {"sees": "edges"}) == "edges"
    assert methods.sees("deepcluster", {"sees": "colour", "clusters": 10}) == "colour"
    assert methods.sees("deepcluster") == default
    assert [methods.sees(name) for name in ("rotation", "colorization")] == ["colour", "lightness"]
    assert untrained_of("deepcluster fine-tuned") == untrained_that_sees(default)
