"""The networks of SRGAN: a residual generator that enlarges at its end, and a discriminator of strided convolutions."""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH, BLOCKS = 64, 16
"""Of the paper's generator."""
DENSE = 1024
"""Width of the hidden layer of the paper's discriminator."""


class SRResNet(nn.Module):
    """Give a larger image: features at the small size, residual blocks, and pixel shuffles at the end.

    Fully convolutional: [B, 3, h, w] becomes [B, 3, factor * h, factor * w], whatever h and w are.

    Args:
        factor: a power of two.
        width: channels of all layers.
        blocks: of two convolutions each.
        first: gives the features [B, width, h, w] of what the network is called with; the paper's 9x9 convolution by
            default.

    Source: Ledig et al., 2017, figure 4, https://arxiv.org/abs/1609.04802
    """

    def __init__(
        self, factor: int, *, width: int = WIDTH, blocks: int = BLOCKS, first: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.first = first or nn.Sequential(nn.Conv2d(3, width, 9, padding=4), nn.PReLU())
        self.body = nn.Sequential(
            *[Residual(width) for _ in range(blocks)], nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        )
        self.enlarge = nn.Sequential(*[Doubling(width) for _ in range(round(math.log2(factor)))])
        self.colour = nn.Conv2d(width, 3, 9, padding=4)

    def forward(self, given: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Give images in the units they are compared in; nothing limits their range."""
        features = self.first(given)
        colours: Tensor = self.colour(self.enlarge(features + self.body(features)))
        return colours


class Residual(nn.Module):
    """Add to a map what two convolutions with batch norm make of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.PReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
        )

    def forward(self, values: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """Keep the shape."""
        changed: Tensor = values + self.layers(values)
        return changed


class Doubling(nn.Sequential):
    """Double the side of a map by a pixel shuffle, without a checkerboard at the start."""

    def __init__(self, width: int) -> None:
        super().__init__(as_nearest(nn.Conv2d(width, 4 * width, 3, padding=1), 2), nn.PixelShuffle(2), nn.PReLU())


class Placed(nn.Module):
    """Bring an encoder's last map to the side and the channels of another map, all its channels into pixels.

    A linear 1x1 convolution and a pixel shuffle; sides that are no whole number apart are resized after it.

    Args:
        width: channels of the given map.
        side: of the given map.
        width_out: channels of the result.
        side_out: of the result.
    """

    def __init__(self, width: int, side: int, width_out: int, side_out: int) -> None:
        super().__init__()
        times = -(-side_out // side)
        self.side = side_out
        self.mix = nn.Conv2d(width, width_out * times**2, 1)
        self.shuffle = nn.PixelShuffle(times)
        self.bend = nn.PReLU()

    def forward(self, last_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B D s s"]:
        """Give the map at the side asked for."""
        placed: Tensor = self.shuffle(self.mix(last_map))
        if placed.shape[-1] != self.side:
            # float32: on a CPU there is no antialiased resize of bfloat16
            resized = F.interpolate(placed.float(), (self.side, self.side), mode="bilinear", antialias=True)
            placed = resized.to(placed.dtype)
        bent: Tensor = self.bend(placed)
        return bent


@torch.no_grad()
def as_nearest(convolution: nn.Conv2d, factor: int) -> nn.Conv2d:
    """Let all pixels that a pixel shuffle makes of one start alike, in place (ICNR): no checkerboard to unlearn.

    Source: Aitken et al., 2017, https://arxiv.org/abs/1707.02937
    """
    for parameter in (convolution.weight, convolution.bias):
        if parameter is not None:
            parameter.copy_(parameter[:: factor**2].repeat_interleave(factor**2, dim=0))
    return convolution


class SRDiscriminator(nn.Module):
    """Judge whether images are real: eight convolutions that halve the side four times, two dense layers.

    Batch norm stands behind all convolutions but the first: show real and enlarged images in passes of their own.

    Args:
        image_size: side of the images; at least 16.

    Source: Ledig et al., 2017, figure 4, https://arxiv.org/abs/1609.04802
    """

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.LeakyReLU(0.2))
        widths = (64, 64, 128, 128, 256, 256, 512, 512)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, stride=2 - number % 2, padding=1),
                # without running statistics: those of real, fake and looked-at images would be mixed
                nn.BatchNorm2d(after, track_running_stats=False),
                nn.LeakyReLU(0.2),
            )
            for number, (before, after) in enumerate(pairwise(widths))
        )
        side = image_size
        for _ in range(4):
            side = -(-side // 2)
        self.judge = nn.Sequential(
            nn.Flatten(), nn.Linear(512 * side**2, DENSE), nn.LeakyReLU(0.2), nn.Linear(DENSE, 1)
        )

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, " B"]:
        """Give a logit for each image."""
        return self.judged(images)[0]

    @property
    def depth(self) -> int:
        """Number of maps."""
        return 1 + len(self.layers)

    def maps(self, images: Float[Tensor, "B 3 S S"], *, count: int | None = None) -> list[Tensor]:
        """Give the maps of all convolutions, first to last, or of the first `count` of them alone."""
        found = [self.first(images)]
        for layer in self.layers[: None if count is None else count - 1]:
            found.append(layer(found[-1]))
        return found

    def judged(self, images: Float[Tensor, "B 3 S S"]) -> tuple[Float[Tensor, " B"], list[Tensor]]:
        """Give what `forward` and `maps` give, in one pass."""
        found = self.maps(images)
        return self.judge(found[-1]).flatten(), found
