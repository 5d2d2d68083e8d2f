"""Generators: pictures from codes."""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from selfsup.networks.discriminators import WIDEST, halvings


class Generator(nn.Module):
    """Turn a code into an image: a linear map to a side of 4 to 7, doublings, and a last convolution at full size.

    A doubling repeats each pixel, and two 3x3 convolutions follow it. Batch norm and ReLU stand in front of every
    convolution, tanh behind the last. Convolutions repeat what stands at the edge: zeros would show as a frame. A side
    that is no such multiple of a power of two is cut out of the middle of a slightly larger picture.

    Args:
        code_width: length of the code.
        image_size: side of the images, at least 8.
        width: channels in front of the last doubling; doubled by each one before it, to at most 512, and halved behind.
        channels: of the images.

    Source: the layout is that of Radford, Metz and Chintala, 2016, https://arxiv.org/abs/1511.06434; doubling by
        repetition: Odena, Dumoulin and Olah, 2016, https://distill.pub/2016/deconv-checkerboard; two convolutions per
        doubling as in Miyato et al., 2018, without shortcuts.
    """

    def __init__(self, code_width: int, image_size: int, *, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        doublings = halvings(image_size)
        self.image_size, self.width = image_size, width
        self.start = -(-image_size // 2**doublings)
        widths = [min(WIDEST, width * 2**n) for n in reversed(range(doublings))]
        self.first = nn.Linear(code_width, widths[0] * self.start**2, bias=False)
        layers: list[nn.Module] = []
        for before, after in pairwise([*widths, max(1, width // 2)]):
            layers += [*_active(before), nn.Upsample(scale_factor=2), _convolution(before, after)]
            layers += [*_active(after), _convolution(after, after)]
        layers += [*_active(after), _convolution(after, channels, bias=True)]
        self.layers = nn.Sequential(*layers, nn.Tanh())
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, codes: Float[Tensor, "B Z"]) -> Float[Tensor, "B C S S"]:
        """Give images in [-1, 1]."""
        first = self.first(codes).unflatten(1, (-1, self.start, self.start))
        images: Tensor = self.layers(first)
        spare = (images.shape[-1] - self.image_size) // 2
        end = spare + self.image_size
        return images[..., spare:end, spare:end]


def _active(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


def _convolution(before: int, after: int, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(before, after, 3, padding=1, padding_mode="replicate", bias=bias)
