"""Initial weights made from unlabelled images: filters are drawn, principal directions or k-means centres."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from selfsup.draws import mix
from selfsup.errors import InputError
from selfsup.networks.encoders import Encoder
from selfsup.networks.names import WAYS
from selfsup.networks.rescaling import rescale

How = Literal["random", "pca", "kmeans"]

MEAN = 0.1
"""Of every channel before its non-linearity, where a layer has a bias: keeps rectifiers alive (released code)."""

PATCHES = 50_000
"""Most patches of a layer's input that filters are found from."""
NUMBERS = 25_000_000
"""Most numbers in them: patches of late layers are long."""
WORK = 1e11
"""Most multiplications of one k-means."""
EXACT = 1500
"""Length of patches up to which all principal directions are found; beyond, only those that are used, iteratively."""

RANK = 1e-6
"""Share of the largest variance below which a direction is none."""
FLOOR = 1e-3
"""Share of the largest variance that is added to all before whitening: weak directions are mostly noise."""
FLAT = 1e-3
"""Share of the mean contrast below which a patch is flat, and no k-means is to learn from it."""


def images_needed(image_size: int) -> int:
    """Say of how many images `initialise` is to be given: 512 up to 44 pixels, down to 160 (the paper's) from 80 on."""
    return max(160, min(512, 1_000_000 // image_size**2))


@torch.no_grad()
def initialise(encoder: Encoder, images: Float[Tensor, "n c *S"], how: How, seed: int) -> None:
    """Replace an encoder's weights in place, from the first layer to the last in one pass over the images.

    Each convolution (and linear layer that reads a map or a vector) gets its filters from what it reads of these
    images, then the scale with which its outputs have deviation 1 and, where it has a bias, mean 0.1. Filters:
    `random` normal numbers; `pca`, the principal directions of the patches; `kmeans`, the centres of the whitened
    patches. Batch norms get the statistics of the images. Chains without norms are rescaled so that all their layers
    learn equally fast (see `rescaling`). What works on tokens (attention and what is between) and gates on pooled
    maps stay as they were drawn.

    Args:
        encoder: any; modes and what is frozen stay as they are.
        images: of the training set, as the encoder reads them: [n, 3, S, S] in [0, 1], or signals [n, C, L].
            `images_needed` says how many.
        how: `random`, `pca` or `kmeans`.
        seed: of all draws; torch's generator stays as it was.

    Raises:
        InputError: for another `how`, or fewer than 2 images.

    Source: Krähenbühl, Doersch, Donahue and Darrell, 2016, https://arxiv.org/abs/1511.06856; philkr/magic_init.
    """
    if how not in WAYS:
        raise InputError(f"Initial filters are {', '.join(WAYS[:-1])} or {WAYS[-1]}, got {how!r}.")
    if len(images) < 2:
        raise InputError(f"Initial filters are found from at least 2 images, got {len(images)}.")
    layers = [m for m in encoder.modules() if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]
    reached: list[nn.Module] = []
    hooks = []

    def before(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if layer not in reached and _is_to_be_made(layer, given[0], images):
            _make_filters(layer, given[0], how, mix(seed, 0xF117, len(reached)))

    def after(layer: nn.Module, given: tuple[Tensor, ...], outputs: Tensor) -> Tensor:
        if layer not in reached and _is_to_be_made(layer, given[0], images):
            outputs = _standardise(layer, given[0], outputs)
        reached.append(layer)
        return outputs

    try:
        for layer in layers:
            hooks += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
        with _with_statistics_of_the_batch(encoder):
            encoder.vector(images)
    finally:
        for hook in hooks:
            hook.remove()
    rescale(encoder, images, seed)


def _is_to_be_made(layer: nn.Module, given: Tensor, images: Tensor) -> bool:
    assert isinstance(layer.weight, Tensor)
    if not layer.weight.requires_grad or layer.weight.numel() == 0:
        return False
    if isinstance(layer, nn.Linear):
        return given.ndim != 3  # [B, T, C] are tokens
    # a map of one place is a pooled one, and a one-dimensional convolution over images one over their channels
    return given.ndim == images.ndim and given[0, 0].numel() > 1


def _make_filters(layer: nn.Module, inputs: Tensor, how: str, seed: int) -> None:
    assert isinstance(layer.weight, Tensor)
    draws = torch.Generator().manual_seed(seed)
    drawn = torch.randn(layer.weight.shape, generator=draws).to(layer.weight)
    layer.weight.copy_(drawn)
    if isinstance(layer.bias, Tensor):
        layer.bias.zero_()
    if how == "random":
        return
    patches = _patches(layer, inputs, draws)  # [M, g, d]
    groups, size = patches.shape[1:]
    filters = drawn.view(groups, -1, size)  # [g, K, d]
    for group in range(groups):
        filters[group] = _filters(patches[:, group], filters[group], how, seed, group if groups > 1 else 0)
    layer.weight.copy_(filters.view_as(layer.weight))


def _filters(
    patches: Float[Tensor, "M d"], drawn: Float[Tensor, "K d"], how: str, seed: int, turn: int
) -> Float[Tensor, "K d"]:
    """Find K filters for patches; `turn` is the direction that a single filter takes (depthwise convolutions)."""
    patches = patches - patches.mean(0)
    variances, directions = _principal(patches, len(drawn) if len(drawn) > 1 else patches.shape[1], seed)
    usable = int((variances > RANK * variances[0]).sum()) if variances[0] > 0 else 0
    if usable == 0:
        return drawn
    whitening = directions[:, :usable] * (variances[:usable] + FLOOR * variances[0]).rsqrt()  # [d, r]
    if len(drawn) == 1:
        return whitening[:, turn % usable, None].T
    centres = _centres(patches @ whitening, _contrast(patches), len(drawn), seed) if how == "kmeans" else None
    if centres is None:  # there are no more directions than numbers in a patch; filters beyond them are random
        return torch.cat([whitening.T, drawn[usable:]])[: len(drawn)]
    return centres @ whitening.T


def _centres(white: Float[Tensor, "M r"], contrast: Float[Tensor, " M"], k: int, seed: int) -> Tensor | None:
    """Give k-means centres of unit rows, None if there are too few."""
    from selfsup.clustering import kmeans

    rows = F.normalize(white[contrast > FLAT * contrast.mean()])
    enough = max(2 * k, int(WORK / (20 * k * rows.shape[1])))
    if len(rows) > enough:
        rows = rows[torch.linspace(0, len(rows) - 1, enough, device=rows.device).round().long()]
    return kmeans(rows, k, iterations=20, seed=seed).centroids if len(rows) >= k else None


def _contrast(patches: Float[Tensor, "M d"]) -> Float[Tensor, " M"]:
    return patches.var(1, correction=0)


def _principal(patches: Float[Tensor, "M d"], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Give variances, falling, and principal directions [d, at most count] of centred patches."""
    count = min(count, *patches.shape)
    if patches.shape[1] <= EXACT:
        covariance = (patches.T @ patches).double() / len(patches)
        variances, directions = torch.linalg.eigh(covariance)
        variances, directions = variances.flip(0)[:count].clamp_min(0), directions.flip(1)[:, :count]
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            _, scales, directions = torch.svd_lowrank(patches, q=count, niter=2)
        variances = scales.square() / len(patches)
    largest = directions.gather(0, directions.abs().argmax(0, keepdim=True))
    directions = directions * largest.sign()  # a direction and its opposite are one; always give the same
    return variances.to(patches), directions.to(patches)


def _patches(layer: nn.Module, inputs: Tensor, draws: torch.Generator) -> Float[Tensor, "M g d"]:
    """Give what the filters of a layer are multiplied with, at the same places of all images if not at all."""
    if isinstance(layer, nn.Linear):
        rows = inputs.reshape(-1, 1, layer.in_features)
        most = max(1, min(PATCHES, NUMBERS // layer.in_features))
        return rows[torch.linspace(0, len(rows) - 1, min(most, len(rows))).round().long().to(rows.device)]
    assert isinstance(layer, nn.Conv1d | nn.Conv2d)
    kernel, stride, dilation = (_pair(v, 1) for v in (layer.kernel_size, layer.stride, layer.dilation))
    padding = (0, 0) if isinstance(layer.padding, str) else _pair(layer.padding, 0)
    size = layer.in_channels * kernel[0] * kernel[1]
    maps = inputs.unsqueeze(2) if inputs.ndim == 3 else inputs
    each = max(1, min(PATCHES, NUMBERS // size) // len(maps))
    places = None
    found = []
    for few in maps.split(max(1, NUMBERS // (size * maps.shape[2] * maps.shape[3]))):
        columns = F.unfold(few, kernel, dilation, padding, stride)  # [b, C * k * k, L]
        if columns.shape[2] > each:
            if places is None:
                places = torch.randperm(columns.shape[2], generator=draws)[:each].to(few.device)
            columns = columns[:, :, places]
        found.append(columns.transpose(1, 2).reshape(-1, layer.groups, size // layer.groups))
    return torch.cat(found)


def _pair(values: tuple[int, ...], other: int) -> tuple[int, int]:
    """See a size in one dimension as one in two."""
    return (values[0], values[1]) if len(values) == 2 else (other, values[0])


def _standardise(layer: nn.Module, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Give every output channel deviation 1 over these inputs and, with a bias, mean 0.1; give the new outputs."""
    assert isinstance(layer.weight, Tensor)
    channel = outputs.ndim - 1 if isinstance(layer, nn.Linear) else 1
    std, mean = torch.std_mean(outputs, [d for d in range(outputs.ndim) if d != channel], correction=0)
    std = torch.where(std > 1e-5 * mean.abs(), std, 1.0)  # a response that never changes cannot be scaled
    layer.weight.div_(std.view(-1, *[1] * (layer.weight.ndim - 1)))
    if isinstance(layer.bias, Tensor):
        layer.bias.copy_(MEAN - mean / std)
    if type(layer) not in (nn.Conv1d, nn.Conv2d, nn.Linear):  # weights that are standardised by the layer itself
        changed: Tensor = layer.forward(inputs)  # not by a call, which would come here again
        return changed
    shape = [-1, *[1] * (outputs.ndim - 1 - channel)]
    scaled = outputs / std.view(shape)
    return scaled + layer.bias.view(shape) if isinstance(layer.bias, Tensor) else scaled


@contextmanager
def _with_statistics_of_the_batch(encoder: nn.Module) -> Iterator[None]:
    """Let batch norms, and nothing else, behave as in training, and keep the statistics of the last batch."""
    norms = [m for m in encoder.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    modes = {module: module.training for module in encoder.modules()}
    momenta = [norm.momentum for norm in norms]
    encoder.eval()
    try:
        for norm in norms:
            norm.training, norm.momentum = True, 1.0
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for module, mode in modes.items():
            module.training = mode
