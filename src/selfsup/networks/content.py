"""Frozen networks whose features say what two images have in common, and how to compare such features."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsup import processes
from selfsup.errors import InputError
from selfsup.networks.descriptions import find_description
from selfsup.networks.encoders import IMAGENET_MEAN, IMAGENET_STD, Encoder, load_encoder, takes
from selfsup.networks.files import file_in, read_tensors

VGG = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and convolutions of each of VGG-19's five groups."""


class FrozenFeatures(nn.Module):
    """A network that is only looked at: no gradient for its weights, always in eval mode.

    Args:
        network: an encoder, all of whose stages are compared, or anything that gives one map.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenFeatures":
        """Stay in eval mode."""
        return super().train(False)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> list[Tensor]:
        """Give the maps [B, C, h, w] of images in [0, 1]; gradients flow to the images."""
        if isinstance(self.network, Encoder):
            return list(self.network.stages(images).values())
        return [self.network(images)]

    @property
    def labels(self) -> str:
        """Whether labels came into the network's weights, one of `descriptions.LABELS`."""
        return self.network.labels if isinstance(self.network, Encoder) else "used"


class VGG19(nn.Module):
    """VGG-19 up to the activated fourth convolution of its fifth group, the features of the paper on SRGAN.

    Tensors are named as in torchvision and timm.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width, count in VGG:
            for _ in range(count):
                layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                before = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B 512 s s"]:
        """Give the map of images in [0, 1], at a sixteenth of their side."""
        features: Tensor = self.features((images - self.mean) / self.std)
        return features


def load_features(file: Path, image_size: int) -> FrozenFeatures:
    """Load an encoder that selfsup wrote, or the convolutions of VGG-19, to compare images of a side by.

    Raises:
        InputError: if the file is neither, or its encoder does not take images of this side.
    """
    file = file_in(file, "encoder.safetensors")
    tensors, metadata = read_tensors(file)
    if find_description(file, metadata, beside_first=True) is not None:
        encoder = load_encoder(file)
        if not takes(encoder, image_size):
            raise InputError(
                f"The encoder in {file} does not take images of {image_size} pixels; give one that was trained at "
                "that size, or leave --content out."
            )
        return FrozenFeatures(encoder)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and overwritten
        network = VGG19()
    wanted = network.state_dict()
    if any(key not in tensors or tensors[key].shape != value.shape for key, value in wanted.items()):
        raise InputError(
            f"{file} holds neither an encoder that selfsup wrote nor the convolutions of VGG-19; give "
            "RUN/encoder.safetensors, or vgg19 weights in safetensors form."
        )
    network.load_state_dict({key: tensors[key] for key in wanted})
    return FrozenFeatures(network)


def unlikeness(
    maps: Sequence[Float[Tensor, "B ..."]], true_maps: Sequence[Float[Tensor, "B ..."]]
) -> Float[Tensor, ""]:
    """Average the squared differences of maps, each as a share of the mean square of the true ones in all processes.

    So deep maps count like shallow ones, whatever their scale; 0 for equal images. The true maps get no gradient.
    """
    terms = []
    for made, true in zip(maps, true_maps, strict=True):
        wide = torch.promote_types(made.dtype, torch.float32)
        made, true = made.to(wide), true.detach().to(wide)
        terms.append((made - true).square().mean() / processes.average(true.square().mean()).clamp_min(1e-12))
    return torch.stack(terms).mean()
