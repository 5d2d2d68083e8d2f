"""The audit finds a shortcut that is there and none that is not."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import t as student
from torch import Tensor

import selfsup
from selfsup import draws
from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.evaluation import audit as audits
from selfsup.method import Batch, Objective
from selfsup.methods.jigsaw import Jigsaw
from selfsup.methods.rotation import Rotation
from selfsup.methods.simclr import SimCLR
from selfsup.networks.encoders import build_encoder
from selfsup.run import Run, write_yaml

COUNT = 512


def smooth(count: int = 256, side: int = 32) -> np.ndarray:
    """Give images of smooth random colours [N, 3, S, S]."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, (side, side), mode="bilinear")
    return np.asarray((fine * 255).byte().numpy())


class EdgeMatcher(Jigsaw):
    """Puts a two by two puzzle together by comparing the edges of its tiles, and looks at nothing else."""

    def features(self, tiles: Tensor) -> Tensor:
        """Give the pixels."""
        return tiles.flatten(2)

    def solve(self, features: Tensor, order: Tensor) -> Tensor:
        """Prefer the order in which touching edges differ least."""
        shown = features.gather(1, self.permutations[order[:, 0]][:, :, None].expand_as(features))
        shown = shown.view(len(shown), 4, 3, self.tile, self.tile)
        scores = []
        for permutation in self.permutations:
            placed = torch.empty_like(shown)
            placed[:, permutation] = shown
            a, b, c, d = placed.unbind(1)
            across = ((p[..., -1] - q[..., 0]).square().mean((1, 2)) for p, q in ((a, b), (c, d)))
            down = ((p[..., -1, :] - q[..., 0, :]).square().mean((1, 2)) for p, q in ((a, c), (b, d)))
            scores.append(-sum([*across, *down]))  # type: ignore[arg-type]
        return torch.stack(scores, 1)


def run_folder(folder: Path, method: str = "jigsaw", **settings: object) -> Run:
    """Train for two steps, for a folder with a checkpoint."""
    settings |= {"steps": 2, "batch_size": 16, "image_size": 32, "threads": 1, "precision": "float32"}
    return selfsup.pretrain(method, smooth(64), out=folder, **settings)


@pytest.mark.parametrize(("tile", "leaks"), [(16, {"texture"}), (12, set())])
def test_edges_are_found_only_where_tiles_touch(
    tile: int, leaks: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A solver that matches edges leaks with gap 0, and is at chance with the gap; fringes and marks get no blame."""
    run = run_folder(tmp_path / "run", tile=tile)

    def solver(_run: Run, _images: object, device: torch.device, changes: dict[str, int] | None = None) -> Jigsaw:
        torch.manual_seed(0)
        encoder = build_encoder("small", 32, seed=0)
        return EdgeMatcher(encoder, **({"tile": tile, "grayscale": 0.0} | (changes or {}))).to(device).eval()  # type: ignore[arg-type]

    monkeypatch.setattr(audits, "restored", solver)
    found = selfsup.audit(run, smooth(), count=COUNT)
    assert set(found["leaks"]) - {"jpeg"} == leaks  # blocks reach across a gap of a pixel or two
    assert found["texture_if_tiles_touched"]["leak"]
    assert found["texture_if_tiles_touched"]["mean"] > 0.9


def test_stamp_in_the_corner_is_found(tmp_path: Path) -> None:
    """Rotation trained on noise with a stamp learns the stamp, and the audit says so; flat images tell nothing."""
    images = np.random.default_rng(0).integers(0, 256, (256, 3, 32, 32), dtype=np.uint8)
    images[:, :, 2:6, 2:8] = 255
    settings = {"image_size": 32, "threads": 1, "precision": "float32", "batch_size": 32}
    run = selfsup.pretrain("rotation", images, out=tmp_path / "run", steps=40, flip=False, lr=0.02, **settings)
    found = selfsup.audit(run, images, count=COUNT)
    assert "marks" in found["leaks"]
    (marks,) = (check for check in found["checks"] if check["images"] == "marks")
    assert marks["low"] > 0.4
    assert not {"flat", "symmetric", "texture"} & set(found["leaks"])
    assert json.loads((tmp_path / "run" / "audit.json").read_text()) == found


@pytest.mark.parametrize("method", ["rotation", "jigsaw", "context", "aet", "counting", "exemplar", "simclr"])
def test_untrained_model_has_no_leak(method: str, tmp_path: Path) -> None:
    """After two steps nothing has been learned; what an untrained network matches, it matches by colour."""
    found = selfsup.audit(run_folder(tmp_path / "run", method), smooth(), count=COUNT)
    by_content = method in ("counting", "exemplar", "simclr")
    assert set(found["leaks"]) <= ({"flat"} if by_content else set())
    assert (found["images"], found["step"]) == (COUNT, 2)
    assert found["checks"]


class ColourMatcher(SimCLR):
    """Compares mean colours and looks at nothing else."""

    def views(self, images: Tensor) -> Tensor:
        """Give each image twice."""
        return images.repeat_interleave(2, 0)


def test_mean_colours_that_are_enough_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contrast that is as good on flat colours as on real images is a leak; being above chance alone is not."""
    run = run_folder(tmp_path / "run", "simclr")

    def solver(*_: object) -> SimCLR:
        method = ColourMatcher(build_encoder("small", 32, seed=0)).eval()
        monkeypatch.setattr(method.encoder, "vector", lambda images: images.mean((2, 3)))
        method.head = torch.nn.Identity()  # type: ignore[assignment]
        return method

    monkeypatch.setattr(audits, "restored", solver)
    assert selfsup.audit(run, smooth(), count=COUNT)["leaks"] == ["flat"]


class Redness(Rotation):
    """Reports how red a batch is, and what its views would draw."""

    drawn: ClassVar[list[Tensor]] = []

    def losses(self, batch: Batch) -> Iterator[Objective]:
        """Yield it as accuracy."""
        self.drawn.append(draws.uniform(batch.images).mean())
        found = batch.images[:, 0].mean() + self.drawn[-1]
        yield Objective(found, metrics={"accuracy": found})


def test_kinds_share_their_draws_and_the_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes leave is paired, changed minus real; an interval is wide enough for all kinds together."""
    run = run_folder(tmp_path / "run", "rotation")
    monkeypatch.setattr(audits, "restored", lambda *_: Redness(build_encoder("small", 32, seed=0)).eval())
    images = smooth()
    images[:, 0] //= 2
    Redness.drawn.clear()
    found = selfsup.audit(run, images, count=COUNT)
    drawn = torch.stack(Redness.drawn).view(-1, COUNT // 64)
    assert torch.equal(drawn, drawn[:1].expand_as(drawn))
    assert (drawn[0, 1:] != drawn[0, :-1]).all()
    changes = {change["change"]: change["mean"] for change in found["changes"]}
    assert changes["one channel"] == pytest.approx((images[:, 1].mean() - images[:, 0].mean()) / 255, abs=1e-4)
    assert abs(changes["channels shifted"]) < 0.01
    # flat images are as red as real ones, so only the level tells the two intervals apart
    flat, real = found["checks"][0], found["real"]
    assert flat["mean"] == pytest.approx(real["mean"], abs=1e-4)
    wider = (flat["high"] - flat["low"]) / (real["high"] - real["low"])
    tails = student.ppf([1 - 0.025 / len(found["checks"]), 0.975], COUNT // 64 - 1)
    assert wider == pytest.approx(tails[0] / tails[1], rel=1e-2)


def test_below_chance_is_better_where_the_headline_falls() -> None:
    """An error above chance is no leak, one below is."""
    method = Redness(build_encoder("small", 32, seed=0))
    method.headline_rises = False  # type: ignore[misc]
    differences = np.linspace(0.1, 0.2, 8)
    assert [audits._better(method, sign * differences, 0.95) for sign in (1, -1)] == [False, True]


def test_small_folders_show_no_image_twice_in_a_batch() -> None:
    """Twenty images make batches of twenty; a copy in the same batch would be a match that is none."""
    images = open_images(smooth(20), 32)
    asked = audits._Asked(images, COUNT, 0, torch.device("cpu"))
    assert asked.batch == 20
    for number in range(asked.batches):
        rows = asked.order[number * 20 : (number + 1) * 20]
        assert len(set(rows.tolist())) == 20


def test_live_run_is_left_alone(tmp_path: Path) -> None:
    """A checkpoint that is just being written stays; one that does not fit gets a sentence."""
    run = run_folder(tmp_path / "run")
    half = run.folder / "checkpoint" / "000000003.safetensors.1.tmp"
    half.write_bytes(b"half")
    selfsup.audit(run, smooth(), count=COUNT)
    assert half.exists()
    config = run.folder / "config.yaml"
    config.write_text(config.read_text().replace("hidden: null", "hidden: 77"))
    with pytest.raises(InputError, match=r"does not fit the run's config\.yaml"):
        selfsup.audit(run, smooth(), count=COUNT)


def test_same_seed_gives_the_same_audit(tmp_path: Path) -> None:
    """The numbers are a function of run, images and seed."""
    run = run_folder(tmp_path / "run")
    assert selfsup.audit(run, smooth(), count=COUNT) == selfsup.audit(run, smooth(), count=COUNT)


def test_what_cannot_be_audited_gets_one_sentence(tmp_path: Path) -> None:
    """A task without a shortcut, a run without checkpoint, too few images."""
    with pytest.raises(InputError, match="no shortcut to look for in dae"):
        selfsup.audit(run_folder(tmp_path / "dae", "dae"), smooth(), count=COUNT)
    run = run_folder(tmp_path / "run")
    with pytest.raises(InputError, match="at least 512 images of each kind, got 100"):
        selfsup.audit(run, smooth(), count=100)
    for file in (run.folder / "checkpoint").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="has no checkpoint"):
        selfsup.audit(run, smooth(), count=COUNT)


@pytest.mark.parametrize(
    ("method", "why"),
    [("shuffle", "frames of clips"), ("tracking", "frames of clips"), ("synthetic", "rendered scenes")],
)
def test_what_asks_of_no_single_image_says_why_and_what_to_do(method: str, why: str, tmp_path: Path) -> None:
    """Before any image is opened."""
    config = {"method": method, "encoder": "small", "image_size": 32, "store_size": 36, "seed": 0, "resolved": {}}
    write_yaml(tmp_path / "config.yaml", config)

    with pytest.raises(InputError, match=f"and {method} asks .*{why}.*selfsup evaluate RUN --labels FOLDER"):
        selfsup.audit(Run(tmp_path), tmp_path / "missing", count=COUNT)


def test_interval_is_students() -> None:
    """Mean and half width of four values, by hand."""
    found = audits._interval(np.array([1.0, 2.0, 3.0, 4.0]), 0.95)
    assert found["mean"] == 2.5
    assert found["high"] - found["mean"] == pytest.approx(3.182446 * 1.2909944 / 2, rel=1e-5)
