"""Images that show nothing: a pretext task can be solved on them only by a shortcut.

Each function takes images [B, 3, S, S] in [0, 1] and gives as many of the same shape; what is random is drawn with
`selfsup.draws`.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup import draws
from selfsup.views.warps import affine

Images = Float[Tensor, "B 3 S S"]

PLACES = ("rotation", "jigsaw", "context")
"""Tasks that ask where, or which way round, something is."""
LOOKED_AT = 64
"""Side in pixels at which the slow changes of a mean image are looked for."""
CONTRAST = 0.15
"""Standard deviation of the textures."""


class Shortcut(NamedTuple):
    """What images without content still have."""

    name: str
    meaning: str
    """What a method uses that is better than chance on them."""
    tasks: tuple[str, ...]
    """Methods, or families, that it says something about."""
    make: Callable[[Images, Tensor], Images]
    """From images and the marks of the folder [3, S, S]."""
    on_noise: bool = False
    """Made of `texture`: only what is better than on that is its own."""
    by_content: bool = False
    """An untrained network is above chance too: a leak is to be as good as on real images."""


def flat(images: Images) -> Images:
    """Fill each image with its mean colour: what is left are the borders that views make."""
    return images.mean((2, 3), keepdim=True).expand_as(images).contiguous()


def symmetric(images: Images) -> Images:
    """Average each image over its four turns: nothing in it says which way is up."""
    return torch.stack([images.rot90(k, (2, 3)) for k in range(4)]).mean(0)


def texture(images: Images) -> Images:
    """Replace each image by noise that is alike everywhere and in all directions, in its mean colour.

    Neighbouring pixels resemble each other, pixels four apart do not; so only what touches can be told to touch.
    """
    return (images.mean((2, 3), keepdim=True) + CONTRAST * _noise(images, images.shape[-1])).clamp(0, 1)


def lens(images: Images, reach: float = 0.04) -> Images:
    """Magnify red and shrink blue of gray noise about the middle, as a lens does: the shift tells the place.

    Args:
        images: give mean colours and the shape.
        reach: shift of red and of blue at the edge, as a share of half the side.
    """
    side = images.shape[-1]
    margin = side // 8 + 1
    gray = _noise(images, side + 2 * margin)[:, :1]
    factors = torch.tensor([1 - reach, 1.0, 1 + reach], device=images.device)
    matrices = factors[:, None, None] * torch.eye(2, 3, device=images.device)
    shifted = torch.cat([affine(gray, m.expand(len(gray), 2, 3)) for m in matrices], dim=1)
    inside = shifted[..., margin : margin + side, margin : margin + side]
    return (images.mean((1, 2, 3), keepdim=True) + CONTRAST * inside).clamp(0, 1)


def marked(images: Images, marks: Float[Tensor, "3 S S"]) -> Images:
    """Put the marks of a folder on noise."""
    return (texture(images) + marks).clamp(0, 1)


def marks_of(
    mean_image: Float[Tensor, "3 S S"], deviation: Float[Tensor, "3 S S"], count: int
) -> Float[Tensor, "3 S S"]:
    """Find what all images have in the same place: thin frames, dates, small stamps.

    Args:
        mean_image: over the folder; its slow changes, such as a brighter sky, are content and taken out.
        deviation: of each pixel over the folder.
        count: images of the folder; what the mean of few still shows of each is no mark.

    Returns: what the mean has there above its surroundings, 0 elsewhere.
    """
    side = mean_image.shape[-1]
    small = F.interpolate(mean_image[None], size=min(side, LOOKED_AT), mode="area")[0]
    radius = max(1, small.shape[-1] // 8)
    padded = F.pad(small[:, None], [radius] * 4, mode="reflect")
    # the median of a window passes over what fills less than half of it, and follows slow changes
    slow = F.unfold(padded, 2 * radius + 1).median(dim=1).values.view_as(small)
    sharp = mean_image - F.interpolate(slow[None], size=(side, side), mode="bilinear")[0]
    return sharp.masked_fill(sharp.abs() <= 4 * deviation / count**0.5, 0.0)


def reencoded(images: Images, quality: int = 50) -> Images:
    """Send images through a JPEG encoder, which leaves the borders of its blocks."""
    from PIL import Image

    made = []
    for image in (images * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy():
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=quality)
        made.append(np.asarray(Image.open(buffer).convert("RGB")))
    pixels = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).to(images.device)
    return pixels.to(images.dtype) / 255


def one_channel(images: Images) -> Images:
    """Show the green channel in all three: what is left is what needs no colour."""
    return images[:, 1:2].expand_as(images).contiguous()


def shifted_channels(images: Images) -> Images:
    """Move red a pixel up and left and blue a pixel down and right, with the border's pixels where none come in."""
    padded = F.pad(images, [1] * 4, mode="replicate")
    side = images.shape[-1]
    red, green, blue = (padded[:, c : c + 1, o : o + side, o : o + side] for c, o in ((0, 2), (1, 1), (2, 0)))
    return torch.cat([red, green, blue], dim=1)


SHORTCUTS = (
    Shortcut("flat", "the borders its own views make", (*PLACES, "aet"), lambda images, _: flat(images)),
    Shortcut(
        "flat", "the mean colour alone", ("contrastive", "counting"), lambda images, _: flat(images), by_content=True
    ),
    Shortcut("symmetric", "something that is not in the image", ("rotation",), lambda images, _: symmetric(images)),
    Shortcut("texture", "edges that continue", PLACES, lambda images, _: texture(images)),
    Shortcut("lens", "colour fringes of a lens", PLACES, lambda images, _: lens(images), on_noise=True),
    Shortcut("jpeg", "the blocks of JPEG files", PLACES, lambda images, _: reencoded(texture(images)), on_noise=True),
    Shortcut("marks", "marks that all images have", PLACES, marked, on_noise=True),
)
"""Images without content."""

CHANGES: dict[str, Callable[[Images], Images]] = {
    "one channel": one_channel,
    "channels shifted": shifted_channels,
    "jpeg again": reencoded,
}
"""Images with content, changed in a way that should not matter much."""


def _noise(like: Images, side: int) -> Float[Tensor, "B 3 _ _"]:
    """Draw smooth noise of mean 0 and deviation 1, a piece of something larger: no border is different."""
    drawn = draws.normal(like, 3, side + 2, side + 2)
    weights = like.new_tensor([1.0, 2.0, 1.0])
    kernel = torch.outer(weights, weights)
    kernel = (kernel / kernel.square().sum().sqrt()).expand(3, 1, 3, 3)
    return F.conv2d(drawn, kernel, groups=3)
