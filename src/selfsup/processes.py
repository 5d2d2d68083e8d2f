"""What a run over several processes needs: rank, averages, gathers. All of it does nothing in one process."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

_alone = False


def start(device: torch.device) -> None:
    """Join the other processes of a `torchrun` launch, if there is one."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the group of processes, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if _together() else 0


def count() -> int:
    """Number of processes that share the run."""
    return dist.get_world_size() if _together() else 1


@contextmanager
def alone() -> Iterator[None]:
    """Do what is inside as if there were no other processes: nothing is gathered, nobody is waited for."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def _together() -> bool:
    return dist.is_initialized() and not _alone


def rows(total: int) -> slice:
    """Rows of a global batch of `total` that belong to this process."""
    share = total // count()
    return slice(rank() * share, (rank() + 1) * share)


def average(value: Tensor) -> Tensor:
    """Mean of `value` over the processes, without gradient."""
    if count() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / count()


def any_of(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true in any process, so that all of them stop together."""
    if count() == 1:
        return flag
    value = torch.tensor(float(flag), device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def broadcast(value: Tensor) -> Tensor:
    """The `value` of process 0."""
    if count() > 1:
        dist.broadcast(value, 0)
    return value


def barrier() -> None:
    """Wait for all processes."""
    if count() > 1:
        dist.barrier()


@contextmanager
def first_alone() -> Iterator[None]:
    """Let process 0 do what is inside before all others: it writes what they then read."""
    if rank() > 0:
        barrier()
    yield
    if rank() == 0:
        barrier()


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over the processes in one flat buffer per data type; a missing one counts as zeros."""
    if count() == 1:
        return
    for dtype in sorted({p.dtype for p in parameters}, key=str):
        members = [p for p in parameters if p.dtype == dtype]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in members]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= count()
        for parameter, piece in zip(members, flat.split([p.numel() for p in members]), strict=True):
            parameter.grad = piece.view(parameter.shape).clone(memory_format=torch.preserve_format)


def sum_with_gradient(value: Tensor) -> Tensor:
    """Sum over the processes; gradients flow to every process."""
    return value if count() == 1 else _Sum.apply(value)


def gather_with_gradient(value: Tensor) -> Tensor:
    """Concatenate the rows of all processes [B, ...] -> [P*B, ...] in order of rank; gradients flow to every process.

    Source: the scatter and all-reduce sum of google-research/simclr, which is differentiable.
    """
    if count() == 1:
        return value
    padded = value.new_zeros(count() * len(value), *value.shape[1:])
    padded = torch.cat([padded[: rank() * len(value)], value, padded[(rank() + 1) * len(value) :]])
    return sum_with_gradient(padded)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        summed: Tensor = _Sum.apply(gradients[0])  # itself with a gradient, for penalties on gradients
        return summed


def in_rank_order(values: Iterable[Tensor]) -> Tensor:
    """Gather rows without gradient from all processes, in order of rank."""
    local = torch.cat(list(values))
    if count() == 1:
        return local
    pieces = [torch.empty_like(local) for _ in range(count())]
    dist.all_gather(pieces, local)
    return torch.cat(pieces)
