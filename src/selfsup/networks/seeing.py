"""What of an image a network reads: all of it, its lightness, its edges, or lightness and colour by a network for each.

Images always go in as RGB in [0, 1]. A network that sees lightness gets it on three equal channels, so that
any network for RGB fits. Edges are two channels (networks made for RGB get zeros on a third), by fixed filters
that nothing trains. Two halves are two networks without any connection: what one sees never reaches the other,
and their maps and vectors stand side by side, those of lightness first.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.views import lab

MEAN = (50.0, 0.0, 0.0)
"""Of L, a and b: gray of middle lightness."""
STD = (25.0, 15.0, 15.0)
"""Of L, a and b, as in photographs (24, 11 and 16 over CIFAR-10)."""


class Halves(nn.Module):
    """Two networks of one kind, one for lightness and one for colour.

    Args:
        build: gives a network for images of so many channels.
        whole: whether both take three channels: L three times; a, b and zeros. Otherwise one and two.
    """

    def __init__(self, build: Callable[[int], nn.Module], whole: bool) -> None:
        super().__init__()
        self.whole = whole
        self.lightness = build(3 if whole else 1)
        self.colour = build(3 if whole else 2)

    def inputs(self, standard: Float[Tensor, "B 3 S S"]) -> list[tuple[nn.Module, Float[Tensor, "B _ S S"]]]:
        """Give each network and what it gets of standardized L, a and b."""
        light, colour = standard[:, :1], standard[:, 1:]
        if self.whole:
            light, colour = light.expand(-1, 3, -1, -1), torch.cat([colour, torch.zeros_like(light)], dim=1)
        return [(self.lightness, light), (self.colour, colour)]


def edges(standard: Float[Tensor, "B 3 S S"], whole: bool) -> Float[Tensor, "B _ S S"]:
    """Give the edges of an image: how its gray falls to the right and rises to the top, by Sobel's filters.

    Args:
        standard: normalized images; gray is the mean of their three channels, and 0 what lies outside.
        whole: whether the network takes three channels; zeros are the third.

    Written as differences, which autocast leaves in float32. Source: facebookresearch/deepcluster, models/alexnet.py.
    """
    gray = F.pad(standard.mean(1, keepdim=True), (1, 1, 1, 1))
    falls = gray[..., :-2] - gray[..., 2:]
    smooth = gray[..., :-2] + 2 * gray[..., 1:-1] + gray[..., 2:]
    across = falls[..., :-2, :] + 2 * falls[..., 1:-1, :] + falls[..., 2:, :]
    upward = smooth[..., :-2, :] - smooth[..., 2:, :]
    return torch.cat([across, upward, *([torch.zeros_like(across)] if whole else [])], dim=1)


def normalize(sees: str, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Give standardized lightness three times, or (for halves) standardized L, a and b."""
    if sees == "lightness":
        return ((lab.lightness(images) - MEAN[0]) / STD[0]).expand(-1, 3, -1, -1)
    mean, std = _constants(images)
    return (lab.from_rgb(images) - mean) / std


def denormalize(sees: str, values: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 3 S S"]:
    """Give images in [0, 1] that are read as these values; gray ones where only lightness is read."""
    mean, std = _constants(values)
    if sees == "lightness":
        light = values.mean(1, keepdim=True)
        values = torch.cat([light, torch.zeros_like(light), torch.zeros_like(light)], dim=1)
    return lab.to_rgb(values * std + mean)


def in_words(sees: str, whole: bool) -> str:
    """Say what a network gets that was made for RGB, of networks that see no colour or come in halves."""
    if sees == "edges":
        return (
            "Sobel's two maps (left less right, top less bottom, edges of the image padded with 0) of the mean of the "
            f"three normalized channels{', with zeros on a third channel' if whole else ''}"
        )
    light = f"(L - {MEAN[0]:g}) / {STD[0]:g}"
    colour = f"a / {STD[1]:g} and b / {STD[2]:g}"
    lightness = f"{light} on each of three channels" if whole else light
    where = "L the lightness of CIE Lab (D65, 0 to 100) of the sRGB image"
    if sees == "lightness":
        return f"{lightness}, {where}"
    zeros = ", with zeros on a third channel" if whole else ""
    return (
        f"{lightness} in the half of lightness, {colour}{zeros} in that of colour, {where}, a and b its colour "
        "(-110 to 110)"
    )


def _constants(like: Tensor) -> tuple[Tensor, Tensor]:
    return like.new_tensor(MEAN).view(3, 1, 1), like.new_tensor(STD).view(3, 1, 1)
