"""How timm's networks are made to take small images: smaller patches, stems that keep the resolution."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from selfsup.errors import InputError
from selfsup.networks.descriptions import is_whole

SMALL_IMAGES = 64
"""Largest side in pixels at which stems are changed not to shrink the image at once."""

ARGUMENTS = {"img_size", "patch_size"}
"""What a timm network's constructor may be told."""


def fit_to_size(name: str, image_size: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Choose constructor arguments and stem changes with which a timm network takes images of this size."""
    with _sketching():
        network = create(name, {}, {})
        if not hasattr(network, "forward_intermediates") or not hasattr(network, "forward_head"):
            raise InputError(f"{name} of timm gives no maps of its stages; choose another encoder, such as resnet18.")
        problem = ""
        for way in _ways_to_fit(network, image_size):
            try:
                candidate = create(name, way.arguments, way.stem).eval()
                images = torch.zeros(2, 3, image_size, image_size)
                _, numbers = stages_of(candidate)
                _, maps = candidate.forward_intermediates(  # type: ignore[operator]
                    images, indices=list(numbers), output_fmt="NCHW"
                )
            except (TypeError, AttributeError):  # an argument it does not know
                continue
            except (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError) as error:
                problem = str(error) or problem
                continue
            if len(maps) == len(numbers) > 0 and min(maps[-1].shape[2:]) >= way.least_side:
                return way.arguments, way.stem
    reason = f" ({problem.splitlines()[0][:200]})" if problem else ""
    raise InputError(
        f"{name} cannot take images of {image_size} pixels{reason}; choose a larger image size or another encoder, "
        "such as small or resnet18."
    )


def create(name: str, arguments: dict[str, Any], stem: dict[str, dict[str, Any]]) -> nn.Module:
    """Build a timm network without classifier and with random weights, its stem changed as said.

    Raises:
        InputError: for arguments or changes other than those that `fit_to_size` gives.
    """
    import timm

    # a file may say anything, and timm opens a pickle when told `checkpoint_path`
    if not (set(arguments) <= ARGUMENTS and all(map(is_whole, arguments.values()))):
        raise _foreign(name, f"arguments {arguments}")
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    modules = dict(network.named_modules())
    for place, change in stem.items():
        if not _is_change(modules.get(place), change):
            raise _foreign(name, f"stem {place!r}: {change}")
    change_stem(network, stem)
    return network


def change_stem(network: nn.Module, changes: dict[str, dict[str, Any]]) -> None:
    """Make poolings identities and convolutions 3x3 with stride 1, in place; names, biases and kinds stay."""
    for place, change in changes.items():
        if change == {"identity": True}:
            network.set_submodule(place, nn.Identity())
        else:
            _widen(network.get_submodule(place), change["kernel_size"], change["stride"])


def stages_of(network: nn.Module) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Give the names of a timm network's stages, those of their modules, and the numbers timm asks for them by.

    Of a column of equal blocks (a vision transformer) four are picked, at equal distances.
    """
    info = list(network.feature_info)  # type: ignore[arg-type]
    picked = range(len(info))
    if len(info) > 6 and len({stage["reduction"] for stage in info}) == 1:
        picked = range(len(info) // 4 - 1, len(info), len(info) // 4)
    return tuple(info[number]["module"] for number in picked), tuple(picked)


class _Way(NamedTuple):
    """One way to make a network of timm's take small images."""

    arguments: dict[str, Any]
    """For the network's constructor."""
    stem: dict[str, dict[str, Any]]
    """Changes to its first modules."""
    least_side: int
    """Side of the last map that makes the way good enough."""


def _ways_to_fit(network: nn.Module, image_size: int) -> Iterable[_Way]:
    """Give ways to fit a network to an image size, best first."""
    first: Any = getattr(network, "pretrained_cfg", {}).get("first_conv") or ()
    places: list[str] = [first] if isinstance(first, str) else list(first)
    convolutions = [(p, m) for p in places if isinstance(m := network.get_submodule(p), nn.Conv2d)]
    small_images = image_size <= SMALL_IMAGES
    patch = max((m.stride[0] for _, m in convolutions if m.kernel_size == m.stride), default=0)
    if small_images and patch > 1:
        # columnar networks (vision transformers) keep the number of patches, others end a few halvings later
        side = 8 if network.feature_info[-1]["reduction"] == patch else 4  # type: ignore[index]
        for smaller in (p for p in range(patch, 0, -1) if image_size % p == 0):
            yield _Way({"img_size": image_size, "patch_size": smaller}, {}, side)
            yield _Way({"patch_size": smaller}, {}, side)
    stem: dict[str, dict[str, Any]] = {}
    if small_images and any(max(m.stride) > 1 for _, m in convolutions):
        stem = {place: {"kernel_size": min(3, m.kernel_size[0]), "stride": 1} for place, m in convolutions}
        pools = (p for p in ("maxpool", "features.pool0", "stem.pool") if _is_pool(network, p))
        stem |= {place: {"identity": True} for place in pools}
    yield _Way({}, stem, 1)
    yield _Way({"img_size": image_size}, stem, 1)
    if small_images:
        yield _Way({"img_size": image_size}, {}, 2)  # better coarse than not at all


def _is_pool(network: nn.Module, place: str) -> bool:
    try:
        return isinstance(network.get_submodule(place), nn.MaxPool2d)
    except AttributeError:
        return False


def _is_change(module: nn.Module | None, change: dict[str, Any]) -> bool:
    """Say whether `change_stem` can do this to a module."""
    if change == {"identity": True}:
        return isinstance(module, nn.MaxPool2d)
    sizes = set(change) == {"kernel_size", "stride"} and all(map(is_whole, change.values()))
    return isinstance(module, nn.Conv2d) and sizes


def _foreign(name: str, what: str) -> InputError:
    return InputError(
        f"The description of {name} is not one that selfsup wrote ({what[:100]}); give files as they were written, or "
        "the weights alone as initial ones (--init)."
    )


@contextmanager
def _sketching() -> Iterator[None]:
    """Build networks of shapes without values: no time, no memory, no random numbers."""
    with torch.device("meta"), torch.no_grad():
        yield


def _widen(convolution: nn.Module, kernel: int, stride: int) -> None:
    """Change kernel and stride so that the map keeps the image's resolution."""
    assert isinstance(convolution, nn.Conv2d)
    if convolution.kernel_size != (kernel, kernel):
        shape = (convolution.out_channels, convolution.in_channels // convolution.groups, kernel, kernel)
        convolution.weight = nn.Parameter(convolution.weight.new_empty(shape))
        convolution.kernel_size = (kernel, kernel)
        if not convolution.weight.is_meta:
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    convolution.stride = (stride, stride)
    convolution.padding = (kernel // 2, kernel // 2)
