"""Views of rendered scenes with what is true of each pixel: whatever happens to a picture happens to its maps."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views import crops

FAINTEST, BRIGHTEST = 0.1, 1.0
"""Brightness of the farthest and of the nearest surface in a drawing of depth."""

Maps = dict[str, Float[Tensor, "B _ S S"]]
Views = dict[str, Float[Tensor, "B _ s s"]]


def laid_out(extra: Mapping[str, Tensor]) -> Maps:
    """Give picture and truth of a batch as maps [B, C, S, S] by name; truth that is not there is left out."""
    found = {name: extra[name] for name in ("scenes", "depth", "normals", "contours") if name in extra}
    return {name: values if values.ndim == 4 else values[:, None] for name, values in found.items()}


def random_crop(maps: Mapping[str, Float[Tensor, "B _ S S"]], size: int, *, flip: bool = True) -> Views:
    """Cut the same random `size` square out of each picture and its maps; flip half of them left to right.

    Args:
        maps: of one side, at least `size`.
        size: side of the result.
        flip: whether to flip with probability 1/2.
    """
    some = next(iter(maps.values()))
    side = some.shape[-1]
    corner = (draws.uniform(some, 2) * (side - size + 1)).long()
    turned = crops.random_flips(some, flip)
    return cut(maps, corner[:, 0], corner[:, 1], turned, size)


def cut(
    maps: Mapping[str, Float[Tensor, "B _ S S"]], top: Tensor, left: Tensor, flip: Bool[Tensor, " B"], size: int
) -> Views:
    """Cut a square of each picture and its maps, flipped where `flip` says so; what points right then points left."""
    every = torch.cat(list(maps.values()), dim=1)
    parts = crops.cut(every, top, left, flip, size).split([values.shape[1] for values in maps.values()], dim=1)
    found = dict(zip(maps, parts, strict=True))
    if "normals" in found:
        sign = torch.where(flip, -1.0, 1.0).to(every.dtype)[:, None, None, None]
        right, others = found["normals"].split([1, 2], dim=1)
        found["normals"] = torch.cat([right * sign, others], dim=1)
    return found


def center(maps: Mapping[str, Float[Tensor, "B _ S S"]], size: int) -> Views:
    """Cut the middle square of each picture and its maps."""
    return {name: crops.center(values, size) for name, values in maps.items()}


def draw_depth(
    log_depth: Float[Tensor, "B 1 S S"],
    low: Float[Tensor, " B"] | None = None,
    high: Float[Tensor, " B"] | None = None,
    seen: Bool[Tensor, "B 1 S S"] | None = None,
) -> Float[Tensor, "B 3 S S"]:
    """Draw depth: near is bright; black where nothing is seen.

    Args:
        log_depth: of each pixel.
        low: of each picture, what is drawn brightest; by default the nearest 2 %.
        high: what is drawn darkest; by default the farthest 2 %.
        seen: where there is anything; by default everywhere.
    """
    values = log_depth.detach().float()
    seen = torch.ones_like(values, dtype=torch.bool) if seen is None else seen
    if low is None or high is None:
        low, high = depth_range(values, seen)
    low, high = low.view(-1, 1, 1, 1), high.view(-1, 1, 1, 1)
    far = ((values - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return torch.where(seen, BRIGHTEST + (FAINTEST - BRIGHTEST) * far, 0.0).expand(-1, 3, -1, -1)


def depth_range(
    log_depth: Float[Tensor, "B 1 S S"], seen: Bool[Tensor, "B 1 S S"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Give what 2 % and 98 % of each picture are nearer than; 0 where nothing is seen."""
    values = torch.where(seen, log_depth.float(), torch.nan).flatten(1)
    low, high = values.nanquantile(torch.tensor([0.02, 0.98], device=values.device), dim=1).nan_to_num()
    return low, high


def draw_normals(normals: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Draw directions as colours: red grows to the right, green downwards, blue away from us; black where is none.

    A floor is purple, a wall that faces us olive.
    """
    drawn = (F.normalize(normals.detach().float(), dim=1) + 1) / 2
    return torch.where((normals != 0).any(1, keepdim=True), drawn, 0.0)
