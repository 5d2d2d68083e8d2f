"""The state of an unfinished run: one safetensors file per checkpoint, the newest two kept."""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.errors import InputError
from selfsup.training.optimizers import parameters_of


def save(folder: Path, step: int, method: nn.Module, optimizers: dict[str, Optimizer], order: Tensor | None) -> None:
    """Write the state after `step` batches; a kill at any moment leaves the previous checkpoint whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {f"method.{name}": tensor for name, tensor in method.state_dict().items()}
    for part, optimizer in optimizers.items():
        for number, parameter in enumerate(parameters_of(optimizer)):
            for name, value in optimizer.state[parameter].items() if parameter in optimizer.state else ():
                if value is not None:
                    tensors[f"optimizer.{part}.{number}.{name}"] = torch.as_tensor(value)
    if order is not None:
        tensors["order"] = order
    # a clone of its own for each: safetensors takes neither shared nor channels-last memory
    plain = {name: _plain(tensor) for name, tensor in tensors.items()}
    final = folder / f"{step:09d}.safetensors"
    temporary = folder / f"{final.name}.{os.getpid()}.tmp"
    save_file(plain, temporary, metadata={"step": str(step)})
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    temporary.replace(final)
    for old in sorted(folder.glob("*.safetensors"))[:-2]:
        old.unlink()


def newest(folder: Path) -> Path | None:
    """Find the last whole checkpoint and remove what a kill left half written."""
    for leftover in folder.glob("*.tmp"):
        leftover.unlink(missing_ok=True)
    return max(folder.glob("*.safetensors"), default=None)


def step_of(file: Path) -> int:
    """Read after how many batches a checkpoint was taken."""
    return int(file.stem)


def load(file: Path, method: nn.Module, optimizers: dict[str, Optimizer]) -> Tensor | None:
    """Copy a checkpoint into live tensors, which keeps their memory layout; give the epoch's order, if any.

    Raises:
        InputError: if it is of other networks.
    """
    load_weights(file, method)
    with safe_open(file, framework="pt") as stored:
        names = set(stored.keys())
        for part, optimizer in optimizers.items():
            prefixes = {f"optimizer.{part}.{n}.": p for n, p in enumerate(parameters_of(optimizer))}
            for prefix, parameter in prefixes.items():
                for name in sorted(n for n in names if n.startswith(prefix)):
                    value = stored.get_tensor(name)
                    if value.shape == parameter.shape and parameter.ndim > 0:
                        value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
                    optimizer.state[parameter][name.removeprefix(prefix)] = value
        return stored.get_tensor("order") if "order" in names else None


@torch.no_grad()
def load_weights(file: Path, method: nn.Module) -> None:
    """Copy the weights and buffers of a method out of a checkpoint into live tensors.

    Raises:
        InputError: if the file cannot be read, or a tensor is missing or of another shape.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            for name, tensor in method.state_dict().items():
                value = stored.get_tensor(f"method.{name}")
                if value.shape != tensor.shape:
                    raise SafetensorError(f"{name} has another shape")
                tensor.copy_(value)
    except SafetensorError as error:
        raise InputError(
            f"The checkpoint {str(file)!r} does not fit the run's config.yaml ({error}): one of them was changed, or "
            "another version wrote it; restore the file, or start anew with another --out."
        ) from error


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
