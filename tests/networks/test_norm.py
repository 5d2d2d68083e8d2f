"""Synchronized batch norm: plain in one process, one batch in two."""

from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from selfsup import processes
from selfsup.networks.encoders import build_encoder
from selfsup.networks.norm import SyncBatchNorm, by_batch, synchronize

STEPS, ROWS = 3, 8


def network() -> nn.Sequential:
    """Give maps, a norm with momentum, a norm that averages, vectors, and a norm without scale and shift."""
    torch.manual_seed(0)
    layers = (
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.BatchNorm2d(4, momentum=None),
        nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6, affine=False), nn.Linear(6, 1),
    )  # fmt: skip
    return nn.Sequential(*layers).double()


def batches() -> list[Tensor]:
    """Give batches whose halves have different statistics."""
    generator = torch.Generator().manual_seed(1)
    drawn = torch.rand(STEPS, ROWS, 3, 6, 6, generator=generator, dtype=torch.float64)
    return list(drawn * torch.linspace(1, 3, ROWS, dtype=torch.float64).view(1, ROWS, 1, 1, 1) + 100)


def gradients(model: nn.Module, rows: slice) -> dict[str, Tensor]:
    """Run steps on some rows; give all gradients, the input's too, and running statistics."""
    found: dict[str, Tensor] = {}
    for step, batch in enumerate(batches()):
        given = batch[rows].clone().requires_grad_()
        model.zero_grad()
        model(given).square().mean().backward()
        processes.average_gradients(list(model.parameters()))
        found |= {f"{step} {key}": value.grad.clone() for key, value in model.named_parameters()}
        # the mean over the whole batch is the mean of the processes' means
        found[f"{step} input"] = processes.in_rank_order([given.grad / processes.count()])
    return found | {key: value.clone() for key, value in model.named_buffers()}


def test_one_process_is_plain_batch_norm_to_the_bit() -> None:
    """Gradients and statistics are torch's own."""
    plain, ours = network(), synchronize(network())
    assert sum(isinstance(module, SyncBatchNorm) for module in ours.modules()) == 3
    one, other = gradients(plain, slice(None)), gradients(ours, slice(None))
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    images = batches()[0]
    assert torch.equal(plain.eval()(images), ours.eval()(images))


def test_two_processes_of_half_a_batch_equal_one(tmp_path: Path) -> None:
    """In float64, to 1e-10: gradients of parameters and input, and running statistics."""
    mp.spawn(one_of_two, args=(str(tmp_path),), nprocs=2)
    expected = gradients(network(), slice(None))
    found = load_file(tmp_path / "found.safetensors")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.allclose(found[key], value, rtol=1e-10, atol=1e-10), key


def one_of_two(rank: int, folder: str) -> None:
    """Be one of two processes."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = gradients(synchronize(network()), processes.rows(ROWS))
    assert SyncBatchNorm(nn.BatchNorm2d(3))(torch.rand(2, 3, 4, 4).bfloat16()).dtype == torch.bfloat16
    if rank == 0:
        save_file(found, Path(folder) / "found.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["small", "resnet18", "efficientnet_b0", "densenet121"])
def test_conversion_keeps_parameters_and_results(name: str) -> None:
    """The same objects under the same names, the same output, timm's norms with their activations included."""
    encoder = build_encoder(name, 32, seed=0)
    images = torch.rand(2, 3, 32, 32)
    expected = encoder.eval().vector(images)
    before = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in encoder.modules())
    synchronize(encoder)
    after = dict(encoder.named_parameters()) | dict(encoder.named_buffers())
    assert list(after) == list(before)
    assert all(after[key] is before[key] for key in before)
    assert sum(isinstance(module, SyncBatchNorm) for module in encoder.modules()) == norms > 0
    assert not any(module.training for module in encoder.modules())
    assert torch.equal(encoder.vector(images), expected)


def test_norm_that_keeps_no_statistics() -> None:
    """Without running statistics every batch is normalized by its own, in eval mode too."""
    plain = nn.BatchNorm2d(3, track_running_stats=False)
    images = torch.rand(4, 3, 5, 5) * 7
    assert torch.equal(SyncBatchNorm(plain).eval()(images), plain.eval()(images))


@pytest.mark.parametrize("name", ["small", "resnet18", "efficientnet_b0"])
def test_by_batch_looks_like_training_and_leaves_no_trace(name: str) -> None:
    """In eval mode the batch at hand is normalized by itself; buffers, modes and what follows are as before."""
    encoder = build_encoder(name, 32, seed=0).eval()
    images = torch.rand(8, 3, 32, 32)
    before, alone = {k: v.clone() for k, v in encoder.state_dict().items()}, encoder.vector(images)
    with by_batch(encoder):
        inside = encoder.vector(images)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert not any(module.training for module in encoder.modules())
    assert torch.equal(encoder.vector(images), alone)
    assert not torch.allclose(inside, alone, atol=1e-3)
    for module in encoder.modules():
        module.training = isinstance(module, nn.modules.batchnorm._BatchNorm)
    assert torch.allclose(encoder.vector(images), inside, atol=1e-5)
