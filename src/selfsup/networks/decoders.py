"""Decoders: from an encoder's last map back to an image."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

WIDEST, NARROWEST = 256, 16


class Decoder(nn.Module):
    """Upsample a map to an image by doubling, with no connection to earlier layers.

    Each doubling is a transposed 4x4 convolution with stride 2 (each output pixel is reached by the
    same number of taps), batch norm and ReLU; channels halve from at most 256 to no fewer than 16. A
    linear 3x3 convolution gives the three colours. Sides that are no power of two apart are resized
    just before it.

    Args:
        width: channels of the map.
        side: of the map.
        image_size: side of the image.

    Source: the layout for 32 px (256, 128, 64 from a 4x4 map) is that of DCGAN's generator.
    """

    def __init__(self, width: int, side: int, image_size: int) -> None:
        super().__init__()
        self.image_size = image_size
        doublings = max(0, round(math.log2(image_size / side)))
        layers: list[nn.Module] = []
        for _ in range(doublings):
            narrower = max(NARROWEST, min(WIDEST, width // 2))
            layers += [
                nn.ConvTranspose2d(width, narrower, 4, 2, 1, bias=False),
                nn.BatchNorm2d(narrower),
                nn.ReLU(True),
            ]
            width = narrower
        self.upsample = nn.Sequential(*layers)
        self.colour = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, last_map: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 S S"]:
        """Give images in the units they are compared in; nothing limits their range."""
        upsampled: Tensor = self.upsample(last_map)
        if upsampled.shape[2:] != (self.image_size, self.image_size):
            upsampled = F.interpolate(upsampled, (self.image_size, self.image_size), mode="bilinear")
        colours: Tensor = self.colour(upsampled)
        return colours
