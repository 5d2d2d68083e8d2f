"""Discriminators: one number per image that says how real it looks, for networks that are thrown away afterwards."""

from itertools import pairwise
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from selfsup.networks.spectral import spectral

Norm = Literal["spectral", "batch", "none"]

WIDEST = 512
SLOPE = 0.2
"""Of the leaky ReLU below zero (DCGAN)."""


class Discriminator(nn.Module):
    """Halve the image by strided 4x4 convolutions to a side of 4 to 7, then read one logit off the last map.

    Leaky ReLUs, no pooling in between, no fully connected hidden layer. With a code, the pair of image and code is
    judged: a linear map of the code is added in every layer, in front of the activation and to the logit.

    Args:
        image_size: side of the images, at least 8.
        width: channels of the first convolution; doubled by each, to at most 512.
        norm: `spectral` (every layer's weight), `batch` (not the first convolution; pass real and generated images
            separately) or `none`.
        channels: of the images.
        code_width: length of the code, 0 for none.
        pooled: read the logit off the last map's sum over places rather than off every place: texture counts wherever
            it is. The sum is divided by the side, which makes it a projection: spectral norms bound it too.

    Source: Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434; codes as in Donahue et al., 2017;
        the sum over places is that of Miyato et al., 2018.
    """

    def __init__(
        self,
        image_size: int,
        *,
        width: int = 64,
        norm: Norm = "spectral",
        channels: int = 3,
        code_width: int = 0,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        if image_size < 8:
            raise ValueError(f"A discriminator needs images of at least 8 pixels, got {image_size}.")
        count = halvings(image_size)
        widths = [min(WIDEST, width * 2**n) for n in range(count)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1) for before, after in pairwise([channels, *widths])
        )
        self.norms = nn.ModuleList(
            # no running statistics: they would mix what passes separately, real and generated images
            nn.BatchNorm2d(after, track_running_stats=False) if norm == "batch" and n > 0 else nn.Identity()
            for n, after in enumerate(widths)
        )
        self.pooled = pooled
        self.logit = nn.Linear(widths[-1] * (1 if pooled else (image_size // 2**count) ** 2), 1)
        self.codes = nn.ModuleList(nn.Linear(code_width, after, bias=False) for after in [*widths, 1] if code_width)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if norm == "spectral":
            for layer in (*self.convolutions, *self.codes, self.logit):
                spectral(layer)

    def forward(
        self, images: Float[Tensor, "B C S S"], codes: Float[Tensor, "B Z"] | None = None
    ) -> Float[Tensor, " B"]:
        """Give a logit for each image, or pair of image and code; positive says real."""
        return self.judged(images, codes)[0]

    @property
    def depth(self) -> int:
        """Number of maps."""
        return len(self.convolutions)

    def maps(
        self, images: Float[Tensor, "B C S S"], codes: Float[Tensor, "B Z"] | None = None, *, count: int | None = None
    ) -> list[Tensor]:
        """Give the map [B, C, h, w] of every convolution, activated, or of the first `count` of them alone."""
        assert (codes is not None) == (len(self.codes) > 0), "codes belong to discriminators built for codes"
        found: list[Tensor] = []
        value: Tensor = images
        for n, (convolution, norm) in enumerate(zip(self.convolutions[:count], self.norms[:count], strict=True)):
            value = norm(convolution(value))
            if codes is not None:
                value = value + self.codes[n](codes)[:, :, None, None]
            value = F.leaky_relu(value, SLOPE)
            found.append(value)
        return found

    def judged(
        self, images: Float[Tensor, "B C S S"], codes: Float[Tensor, "B Z"] | None = None
    ) -> tuple[Float[Tensor, " B"], list[Tensor]]:
        """Give the logits and all maps, in one pass.

        Args:
            images: in the units that real and generated images share, [-1, 1] or the encoder's normalized ones.
            codes: where the discriminator was built for codes.
        """
        found = self.maps(images, codes)
        last = found[-1].sum((2, 3)) / found[-1].shape[-1] if self.pooled else found[-1]
        logits = self.logit(last.flatten(1))
        if codes is not None:
            logits = logits + self.codes[-1](codes)
        return logits.squeeze(1), found


def halvings(side: int) -> int:
    """Say how often a side is halved until 4 to 7 pixels are left; at least once."""
    return max(1, (side // 4).bit_length() - 1)
