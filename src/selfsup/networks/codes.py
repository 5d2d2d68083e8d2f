"""From images to codes and back: an encoder and a generator that were trained together, kept as one file."""

import json
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from selfsup.errors import InputError
from selfsup.networks.behind import context_of, map_in_context
from selfsup.networks.descriptions import is_whole
from selfsup.networks.encoders import Encoder
from selfsup.networks.files import file_in, read_tensors, write_atomically
from selfsup.networks.generators import Generator
from selfsup.networks.names import check_encoder_name

FILE = "codes.safetensors"
"""What it is called in the folder of a run."""


UNIFORM = 1.8
"""Deviation of a logistic variable of scale 1, whose sigmoid is uniform: pi / sqrt(3)."""


VARIANCE = 1 / 3
"""Of each number of a drawn code, uniform from -1 to 1."""


PLACES = 4
"""Side to which a map is averaged down at most before a code is read off it."""


class CodeHead(nn.Module):
    """Read a code's logits off an encoder's last map: linear, then batch norm to the spread that a uniform code has.

    The map is averaged down to 4x4 places where it is larger; off its mean alone, a code could not say where things
    are.
    """

    def __init__(self, encoder: Encoder, code_width: int) -> None:
        super().__init__()
        side = min(PLACES, encoder.side)
        self.context = context_of(encoder)
        self.places = nn.AdaptiveAvgPool2d(side)
        self.linear = nn.Linear(encoder.width * side * side, code_width, bias=False)
        self.norm = nn.BatchNorm1d(code_width)
        nn.init.constant_(self.norm.weight, UNIFORM)

    def forward(self, encoder: Encoder, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B Z"]:
        """Give logits of codes of images in [0, 1], as the encoder sees them."""
        maps = self.places(map_in_context(encoder, self.context, images))
        logits: Tensor = self.norm(self.linear(maps.flatten(1)))
        return logits


class CodeSpace(nn.Module):
    """An encoder, the head that reads codes off its vectors, and the generator that draws codes.

    Args:
        encoder: of images.
        head: from its maps to codes.
        generator: from codes to images of the encoder's size.
    """

    def __init__(self, encoder: Encoder, head: CodeHead, generator: Generator) -> None:
        super().__init__()
        self.encoder, self.head, self.generator = encoder, head, generator

    @property
    def width(self) -> int:
        """Numbers in a code."""
        width: int = self.generator.first.in_features
        return width

    def codes(self, images: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B Z"]:
        """Give codes in (-1, 1) of images in [0, 1]."""
        logits: Tensor = self.head(self.encoder, images)
        return torch.tanh(logits.to(images.dtype) / 2)

    def pictures(self, codes: Float[Tensor, "B Z"]) -> Float[Tensor, "B 3 S S"]:
        """Draw images in [0, 1] of codes in [-1, 1]."""
        drawn: Tensor = self.generator(codes)
        return drawn.to(codes.dtype) / 2 + 0.5

    def content(self) -> bytes:
        """Give the file that `load_code_space` reads."""
        tensors = {key: value.detach().cpu().contiguous() for key, value in self.state_dict().items()}
        words = {"encoder": self.encoder.description(), "codes": self.width, "width": self.generator.width}
        return save(tensors, metadata={"selfsup-codes": json.dumps(words)})


class FrozenCodeSpace(CodeSpace):
    """A code space that is only looked at: no gradient for its weights, always in eval mode."""

    def train(self, mode: bool = True) -> "FrozenCodeSpace":
        """Stay in eval mode."""
        return super().train(False)


def explained(found: Float[Tensor, "B Z"], drawn: Float[Tensor, "B Z"]) -> Float[Tensor, ""]:
    """Give the share of the variance of drawn codes that the found ones explain (r2): at most 1, 0 for constants."""
    return 1 - (found - drawn).square().mean() / VARIANCE


def write_code_space(space: CodeSpace, folder: Path) -> None:
    """Write a code space into the folder of a run, whole or not at all."""
    write_atomically(folder / FILE, space.content())


def load_code_space(place: Path) -> FrozenCodeSpace:
    """Load the code space that a finished run of BiGAN left, frozen.

    Args:
        place: the run's folder, or the file in it.

    Raises:
        InputError: if there is none, or it was written by something else.
    """
    file = file_in(place, FILE)
    if not file.is_file():
        raise InputError(f"There is no generator at {file}; give the folder of a finished run of bigan.")
    tensors, metadata = read_tensors(file)
    words = _words(metadata, file)
    check_encoder_name(words["encoder"]["name"], words["encoder"]["image_size"])
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and overwritten
        encoder = Encoder(words["encoder"])
        generator = Generator(words["codes"], encoder.image_size, width=words["width"])
        space = FrozenCodeSpace(encoder, CodeHead(encoder, words["codes"]), generator)
    wanted = space.state_dict()
    wrong = [key for key in wanted.keys() | tensors.keys() if _shape(wanted, key) != _shape(tensors, key)]
    if wrong:
        raise InputError(
            f"{file} does not hold the networks of this version: {len(wrong)} tensors are missing or of another shape, "
            f"{min(wrong)}; train bigan again."
        )
    space.load_state_dict(tensors)
    return space.requires_grad_(False).eval()


def _words(metadata: dict[str, str], file: Path) -> dict[str, Any]:
    try:
        words = json.loads(metadata["selfsup-codes"])
        fine = is_whole(words["codes"]) and is_whole(words["width"]) and isinstance(words["encoder"], dict)
        described = fine and {"name", "image_size"} <= set(words["encoder"])
    except (KeyError, ValueError, TypeError, RecursionError):
        described = False
    if not described:
        raise InputError(f"{file} holds no generator that selfsup wrote; give the folder of a finished run of bigan.")
    return words  # type: ignore[no-any-return]


def _shape(tensors: dict[str, Tensor], key: str) -> tuple[int, ...] | None:
    return tuple(tensors[key].shape) if key in tensors else None
