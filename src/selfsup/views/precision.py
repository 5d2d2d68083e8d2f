"""Views keep full precision inside autocast: in bf16 a sampling grid is off by 0.66 pixels at 224."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import Tensor

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_full(values: Tensor) -> Tensor:
    """Give at least float32, float64 as it is: losses and clusters are not for bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def full_precision(
    view: Callable[Concatenate[Tensor, Arguments], Result],
) -> Callable[Concatenate[Tensor, Arguments], Result]:
    """Run a view outside autocast, half-precision images as float32; float32 and float64 stay what they are."""

    @functools.wraps(view)
    def run(images: Tensor, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with torch.autocast(images.device.type, enabled=False):
            return view(images if images.dtype in (torch.float32, torch.float64) else images.float(), *args, **kwargs)

    return run
