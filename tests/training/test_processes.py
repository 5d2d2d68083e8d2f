"""Two processes of B/2 images equal one process of B images."""

import os
from collections.abc import Callable
from pathlib import Path

import moving
import pytest
import rendered
import torch
import torch.multiprocessing as mp
from needs import needed
from torch import nn

from selfsup import methods, processes
from selfsup.draws import mix
from selfsup.method import Batch, DataFacts, Method
from selfsup.methods.dae import DenoisingAutoencoder
from selfsup.networks.encoders import build_encoder
from selfsup.networks.norm import synchronize
from selfsup.recipe import Recipe
from selfsup.training import outcome
from selfsup.training.loop import autocast_of, train
from selfsup.training.pretrain import pretrain

BATCH, SIZE = 16, 32
OF_SIGNALS = "dae of signals, tied"
GAMES = {
    "superresolution against a discriminator": ("superresolution", {"adversarial_from": 0.0}),
    "superresolution as in SRGAN": ("superresolution", {"network": "srgan", "blocks": 1, "adversarial_from": 0.0}),
    "inpainting against a discriminator": ("inpainting", {"adversarial": 0.1}),
    "dcgan with a penalty": ("dcgan", {"r1": 1.0}),
    "bigan with all there is": (
        "bigan", {"norm": "batch", "r1": 1.0, "regressor": 0.25, "augment": "color,translation,cutout"},
    ),
}  # fmt: skip
CASES = [(name, torch.float64) for name in [*methods.METHODS, OF_SIGNALS, *GAMES]]
CASES += [(name, torch.float32) for name in [*methods.METHODS, OF_SIGNALS]]
WHOLE = {"simclr": "scenes:64", "tracking": "moving-scenes:12", "synthetic": "scenes:64"}
"""Methods that gather over processes, and what they are trained on from beginning to end."""
QUICK = {"threads": 1, "precision": "float32", "layout": "contiguous", "batch_size": 16, "image_size": 32}


pytestmark = pytest.mark.xdist_group("two processes")  # one worker takes all, and trains the cases once


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train every case in two processes; give the folder of what process 0 ended with."""
    folder = tmp_path_factory.mktemp("two")
    torch.set_num_threads(1)
    mp.spawn(_one_of_two, args=(str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize(("name", "dtype"), CASES, ids=lambda value: str(value).removeprefix("torch."))
def test_two_processes_equal_one(together: Path, name: str, dtype: torch.dtype) -> None:
    """In float64 ten steps agree to 1e-8, in float32 three steps to 1e-5: views, losses, gradients, norms."""
    alone = trained(name, dtype)
    # written by the other processes as plain arrays: nothing is unpickled
    from safetensors.torch import load_file

    shared = load_file(together / f"{name}-{dtype}.safetensors")
    tolerance = 1e-8 if dtype == torch.float64 else 1e-5
    for key, value in alone.items():
        scale = max(1.0, value.abs().max().item())
        assert (value - shared[key]).abs().max().item() <= tolerance * scale, key


def trained(name: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Train a method for a few steps with this process's rows of each batch; give its state."""
    torch.set_num_threads(1)
    method = _method(name).to(dtype)
    if processes.count() > 1:
        synchronize(method)
    clips = "clips" in method.reads
    method.start(moving.facts(moving.squares(), SIZE) if clips else DataFacts(64, SIZE, lambda n: _images(n, 0)))
    torch.manual_seed(mix(0, 2))
    method.start_epoch(_embed(dtype))
    steps = 10 if dtype == torch.float64 else 3
    # rounding grows with every step, and Adam makes a full step of a gradient that is nothing else: small plain steps
    recipe = method.recipe if dtype == torch.float64 else Recipe(optimizer="sgd", lr=2e-4)
    batches = (
        moving.batch(method, moving.squares(), BATCH, k, rows=rows, dtype=dtype)
        if clips
        else Batch(inputs[rows].to(dtype), torch.arange(BATCH)[rows], k, 0.3, _beside(method, k, rows, dtype))
        for k in range(steps)
        for inputs in [_images(BATCH, k)[:, :, 18] if name == OF_SIGNALS else _images(BATCH, k)]
        for rows in [processes.rows(BATCH)]
    )
    for _ in train(method, batches, method.optimizers(recipe), recipe, 0, autocast_of(torch.device("cpu"), "float32")):
        pass
    return {key: value.clone() for key, value in method.state_dict().items() if value.is_floating_point()}


def _method(name: str) -> Method:
    torch.manual_seed(mix(0, 1))
    if name == OF_SIGNALS:
        encoder = build_encoder("small1d", SIZE, seed=0, mean=[0.5] * 3, std=[0.2] * 3)
        return DenoisingAutoencoder(encoder, noise="masking", block=4, tied=True)
    method, arguments = GAMES.get(name, (name, needed(name)))
    encoder = build_encoder("small", SIZE, seed=0, sees=methods.sees(method, arguments))
    return methods.load(method)(encoder, **arguments)


def _embed(dtype: torch.dtype) -> Callable[[nn.Module], torch.Tensor]:
    """Give what gives a module's features of the training images, of which each process takes its rows."""

    @torch.no_grad()
    def embed(module: nn.Module) -> torch.Tensor:
        features = module.eval()(_images(64, 0)[processes.rows(64), :, :SIZE, :SIZE].to(dtype))
        module.train()
        return processes.in_rank_order([features])

    return embed


def _beside(method: Method, step: int, rows: slice, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Give scenes beside the images to a method that reads them."""
    given = rendered.extra(BATCH, 36, step) if "scenes" in method.reads else {}
    return {key: value[rows].to(dtype) for key, value in given.items()}


def _images(count: int, step: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(count, 3, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, size=36, mode="bilinear").clamp(0, 1)


def _one_of_two(rank: int, folder: str) -> None:
    from safetensors.torch import save_file

    os.environ.update(MASTER_ADDR="127.0.0.1", RANK=str(rank), WORLD_SIZE="2")
    _meet(rank, folder, "steps")
    for name, dtype in CASES:
        state = trained(name, dtype)
        if rank == 0:
            save_file(state, f"{folder}/{name}-{dtype}.safetensors")
    processes.barrier()  # who leaves first may bring the other down
    processes.stop()
    if rank > 0:
        outcome._save = None  # type: ignore[assignment]  # two that draw delete each other's pictures
    for name, data in WHOLE.items():
        _meet(rank, folder, name)
        more = {"scenes": "scenes:64"} if name == "synthetic" else {}
        pretrain(name, data, out=Path(folder) / "runs" / name, steps=2, **QUICK, **more)  # stops the meeting


def _meet(rank: int, folder: str, what: str) -> None:
    where = f"file://{folder}/meeting-{what}"
    torch.distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=2)


def test_whole_runs_in_two_processes_end(together: Path) -> None:
    """With pictures and an encoder: what one process does by itself must not wait for the other."""
    for name in WHOLE:
        assert (together / "runs" / name / "encoder.safetensors").is_file(), name
        assert list((together / "runs" / name / "figures").glob("*.png")), name
