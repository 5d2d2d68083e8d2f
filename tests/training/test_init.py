"""What training starts from: weights of a file, or filters made from training images, in every process the same."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import save_file
from torch import Tensor

from selfsup import processes
from selfsup.cli import run as command
from selfsup.draws import reseed
from selfsup.errors import InputError
from selfsup.networks.encoders import build_encoder, load_encoder, write_weights
from selfsup.networks.filters import images_needed, initialise
from selfsup.run import read_yaml
from selfsup.training.build import build, sampler
from selfsup.training.prepare import prepare
from selfsup.training.pretrain import pretrain
from selfsup.views.crops import center

QUICK = {"threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 8, "image_size": 32}


def pictures(count: int = 60) -> np.ndarray:
    """Give coarse random images."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 3, 9, 9), dtype=np.uint8)
    return coarse.repeat(4, axis=2).repeat(4, axis=3)


@pytest.mark.parametrize("how", ["random", "pca", "kmeans"])
def test_filters_are_made_from_training_images(how: str) -> None:
    """Those of the seed's sample of the training set, held-out images excluded, as the encoder reads them."""
    prepared = prepare("rotation", pictures(170), init=how, steps=1, seed=4, **QUICK)
    assert len(prepared.images) < 170
    expected = build_encoder("small", 32, seed=4)
    few = sampler(prepared.images, 4, torch.device("cpu"))(images_needed(32))
    initialise(expected, center(few, 32), how, 4)  # type: ignore[arg-type]
    found = build(prepared.settings, prepared.images).method.encoder
    assert equal(found.state_dict(), expected.state_dict())


@pytest.mark.parametrize(
    ("labels", "says"),
    [("used", "Labels come in with the weights"), ("unknown", "if labels were used, they come in"), ("none", None)],
)
def test_labels_come_in_with_weights_and_are_handed_on(tmp_path: Path, labels: str, says: str | None) -> None:
    """From the file of one run into the next, which says so; the untrained network has none."""
    first = build_encoder("small", 32, seed=1)
    if labels == "unknown":  # weights that others made
        save_file(first.inner.state_dict(), tmp_path / "given.safetensors")
    else:
        first.labels = labels
        write_weights(first, tmp_path / "given.safetensors")

    run = pretrain("rotation", pictures(), out=tmp_path / "run", init=tmp_path / "given.safetensors", steps=1, **QUICK)

    notes = [row["text"] for row in run.summary["health"] if "abels" in row["text"]]
    assert len(notes) == (says is not None)
    assert says is None or says in notes[0]
    assert load_encoder(run.folder).labels == labels
    assert load_encoder(run.folder / "untrained.safetensors").labels == "none"
    prepared = prepare("rotation", pictures(), init=run.folder / "encoder.safetensors", steps=1, **QUICK)
    assert bool(build(prepared.settings, prepared.images).method.remarks) is (says is not None)


def test_labels_that_come_in_are_said_beside_what_a_method_finds_at_its_start(tmp_path: Path) -> None:
    """Tracking says how many tracks it found, and that its first weights are of unknown origin."""
    save_file(build_encoder("small", 32, seed=1).inner.state_dict(), tmp_path / "given.safetensors")
    about = {"encoder": "small", "image_size": 32, "device": "cpu", "init": tmp_path / "given.safetensors"}
    prepared = prepare("tracking", "moving-scenes:30", cache=tmp_path, steps=1, **about)
    remarks = build(prepared.settings, prepared.images).method.remarks
    assert "if labels were used" in remarks[0]
    assert "tracks hold" in remarks[1]


def test_the_untrained_network_beside_it_has_the_same_filters(tmp_path: Path) -> None:
    """What training adds is told apart from what the filters gave; the same call finds the run as it was."""
    run = pretrain("rotation", pictures(), out=tmp_path, init="pca", steps=2, **QUICK)
    first = build_encoder("small", 32, seed=0)
    prepared = prepare("rotation", pictures(), init="pca", steps=2, **QUICK)
    started = dict(build(prepared.settings, prepared.images).method.encoder.named_parameters())
    untrained, trained = load_encoder(run.folder / "untrained.safetensors"), load_encoder(run.folder)
    for name, value in untrained.named_parameters():
        assert torch.equal(value, started[name])
        assert not torch.equal(value, trained.get_parameter(name))
    assert not torch.equal(untrained.inner.stage1[0].weight, first.inner.stage1[0].weight)
    assert sum(name.startswith("first filters") for name in names(run.figures())) == 2
    assert read_yaml(run.folder / "config.yaml")["init"] == "pca"
    assert pretrain("rotation", pictures(), out=tmp_path, init="pca", steps=2, **QUICK).is_finished
    with pytest.raises(InputError, match="init"):
        pretrain("rotation", pictures(), out=tmp_path, init="random", steps=2, **QUICK)


def test_a_file_may_have_the_name_of_a_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bare word is the way; with a folder, or as a path, it is the file."""
    monkeypatch.chdir(tmp_path)
    given = build_encoder("small", 32, seed=11)
    write_weights(given, tmp_path / "kmeans")
    for init in ("./kmeans", Path("kmeans"), tmp_path / "kmeans"):
        prepared = prepare("rotation", pictures(), init=init, steps=1, **QUICK)
        started = build(prepared.settings, prepared.images).method.encoder
        assert equal(dict(started.named_parameters()), dict(given.named_parameters()))
    assert prepare("rotation", pictures(), init="kmeans", steps=1, **QUICK).settings.init == "kmeans"


def test_what_is_neither_is_refused() -> None:
    with pytest.raises(InputError, match=r"no file 'zca'.*random, pca or kmeans"):
        prepare("rotation", pictures(), init="zca", steps=1, **QUICK)


def test_the_command_line_takes_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--init pca` makes filters, `--init FILE` reads them, `--config` of such a run gives the same start."""
    np.save(tmp_path / "images.npy", pictures())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    call = [
        "pretrain",
        "rotation",
        str(tmp_path / "images.npy"),
        "--image-size",
        "32",
        "--steps",
        "1",
        "--threads",
        "1",
    ]
    assert command([*call, "--init", "pca", "--out", str(tmp_path / "one")]) == 0
    assert command([*call, "--config", str(tmp_path / "one" / "config.yaml"), "--out", str(tmp_path / "two")]) == 0
    one, two = ((tmp_path / name / "untrained.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    assert command([*call, "--init", "nothing", "--out", str(tmp_path / "three")]) == 2


def test_all_processes_start_from_the_same_filters(tmp_path: Path) -> None:
    """Even if they were to find other ones: those of process 0 count."""
    from safetensors.torch import load_file

    mp.spawn(_one_of_two, args=(str(tmp_path),), nprocs=2)
    one, two = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert equal(one, two)


def _one_of_two(rank: int, folder: str) -> None:
    from safetensors.torch import save_file

    from selfsup.networks import filters

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    filters.FLOOR *= 1 + rank  # another machine rounds otherwise
    prepared = prepare("rotation", pictures(), init="pca", steps=1, cache=Path(folder) / str(rank), **QUICK)
    reseed(rank)
    state = build(prepared.settings, prepared.images).method.encoder.state_dict()
    save_file({key: value.contiguous() for key, value in state.items()}, f"{folder}/{rank}.safetensors")
    processes.barrier()  # who leaves first may bring the other down
    processes.stop()


def names(pictures: Iterable[Path]) -> list[str]:
    """Give the names of files."""
    return [Path(picture).name for picture in pictures]


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Say whether all tensors are equal to the bit."""
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
