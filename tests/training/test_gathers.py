"""What processes share, seen from two of them: rows, gathers with their gradients, averages of gradients."""

from pathlib import Path
from time import sleep

import pytest
import torch
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from selfsup import processes


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Tensor]]:
    """Give what each of two processes found."""
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(_one_of_two, args=(str(folder),), nprocs=2)
    return [load_file(folder / f"{rank}.safetensors") for rank in range(2)]


def batch() -> Tensor:
    """Six rows, the same in every process."""
    return torch.arange(18, dtype=torch.float64).reshape(6, 3).sin()


def curved(rows: Tensor) -> Tensor:
    """A loss in which every row meets every other, each pair with a weight of its own."""
    weights = torch.arange(36, dtype=torch.float64).reshape(6, 6).cos()
    return ((rows @ rows.T) ** 2 * weights).sum()


def _one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    own = batch()[processes.rows(6)].clone().requires_grad_()
    gathered = processes.gather_with_gradient(own)
    curved(gathered).backward()
    first, second, third = (nn.Parameter(torch.zeros(shape)) for shape in ((2, 3), (3, 2), (4,)))
    exact = nn.Parameter(torch.zeros(2, dtype=torch.float64))
    first.grad = torch.full((2, 3), 1.0 + rank)
    exact.grad = torch.full((2,), 4.0 * rank, dtype=torch.float64)
    if rank == 1:
        second.grad = torch.arange(6.0).reshape(3, 2)
    processes.average_gradients([first, second, exact, third])
    again = batch()[processes.rows(6)].clone().requires_grad_()
    (slope,) = torch.autograd.grad(curved(processes.gather_with_gradient(again)), again, create_graph=True)
    slope.square().sum().backward()
    found = {
        "penalized": again.grad,
        "rows": own.detach(),
        "gathered": gathered.detach(),
        "gradient": own.grad,
        "first": first.grad,
        "second": second.grad,
        "third": third.grad,
        "exact": exact.grad,
        "in order": processes.in_rank_order([own.detach()[:1], own.detach()[1:]]),
        "average": processes.average(torch.tensor([1.0, 3.0 * rank])),
        "any": torch.tensor([processes.any_of(rank == 1, torch.device("cpu")), processes.any_of(False, own.device)]),
        "broadcast": processes.broadcast(torch.tensor([5.0 + rank])),
    }
    with processes.alone():
        found["alone"] = torch.tensor([processes.count(), processes.rank()])
    with processes.first_alone():
        found["written before"] = torch.tensor([(Path(folder) / str(other)).exists() for other in range(2)])
        sleep(0.3 * (rank == 0))
        (Path(folder) / str(rank)).touch()
    save_file({name: value.contiguous() for name, value in found.items()}, f"{folder}/{rank}.safetensors")
    processes.barrier()  # who leaves first may bring the other down
    processes.stop()


def test_rows_are_the_batch_in_order_of_rank(seen):
    """Each row belongs to one process, and gathers put it back in its place."""
    assert torch.equal(torch.cat([one["rows"] for one in seen]), batch())
    for one in seen:
        assert torch.equal(one["gathered"], batch())
        assert torch.equal(one["in order"], batch())


def test_the_gradient_of_a_gather_flows_to_every_process(seen):
    """The loss of each process reaches all rows: their gradients are the sum over both, twice those of one process."""
    alone = batch().requires_grad_()
    curved(alone).backward()

    assert torch.allclose(torch.cat([one["gradient"] for one in seen]), 2 * alone.grad, rtol=1e-12)


def test_a_gradient_of_gradients_flows_to_every_process(seen):
    """A penalty on gradients of both processes' losses: the slope is twice that of one process, its square fourfold."""
    alone = batch().requires_grad_()
    (slope,) = torch.autograd.grad(curved(alone), alone, create_graph=True)
    slope.square().sum().backward()

    assert torch.allclose(torch.cat([one["penalized"] for one in seen]), 4 * alone.grad, rtol=1e-12)


def test_gradients_are_averaged_each_in_its_place(seen):
    """A gradient that one process or all lack counts as zeros, and data types are not mixed."""
    for one in seen:
        assert torch.equal(one["first"], torch.full((2, 3), 1.5))
        assert torch.equal(one["second"], torch.arange(6.0).reshape(3, 2) / 2)
        assert torch.equal(one["third"], torch.zeros(4))
        assert torch.equal(one["exact"], torch.full((2,), 2.0, dtype=torch.float64))


def test_averages_flags_and_broadcasts_are_the_same_everywhere(seen):
    for one in seen:
        assert one["average"].tolist() == [1.0, 1.5]
        assert one["any"].tolist() == [True, False]
        assert one["broadcast"].tolist() == [5.0]


def test_the_first_writes_what_the_others_then_read(seen):
    """However long it takes; and what a process does alone waits for nobody."""
    assert seen[0]["written before"].tolist() == [False, False]
    assert seen[1]["written before"][0]
    assert [one["alone"].tolist() for one in seen] == [[1, 0], [1, 0]]


def test_one_process_alone_changes_nothing():
    """No copies, no gradients where there are none."""
    value, lone = batch(), nn.Parameter(torch.zeros(2))
    processes.average_gradients([lone])

    assert processes.gather_with_gradient(value) is value
    assert processes.rows(6) == slice(0, 6)
    assert lone.grad is None
