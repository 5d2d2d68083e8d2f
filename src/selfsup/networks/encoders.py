"""The encoder: what pretraining is for. A built-in network or any of timm's behind one small surface."""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor, nn

from selfsup.errors import InputError
from selfsup.networks import built_in, fitting, seeing, signals, trunks
from selfsup.networks.descriptions import SEEN, find_description
from selfsup.networks.files import copy_into, read_tensors, same_shape, write_atomically
from selfsup.networks.fixed import Pixels
from selfsup.networks.names import BUILT_IN, FIXED, OURS, architecture, check_encoder_name, reads_signals
from selfsup.networks.norm import reestimate_norms
from selfsup.networks.scattering import Scattering

__all__ = [
    "IMAGENET_MEAN", "IMAGENET_STD", "Encoder", "behind_last_map", "build_encoder", "check_encoder_name",
    "load_encoder", "reestimate_norms", "save_encoder", "write_atomically", "write_weights",
]  # fmt: skip

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_BUILDERS: dict[str, Callable[[int, int, int], nn.Module]] = {
    "small": built_in.small,
    "alexnet": built_in.alexnet,
    "nin": lambda _, channels, divisor: built_in.nin(channels, divisor),
    "scattering": lambda image_size, _, __: Scattering(image_size),
    "pixels": lambda _, __, ___: Pixels(),
}


class Encoder(nn.Module):
    """A stack of named stages that takes RGB images in [0, 1] and normalizes them itself.

    What of an image it `sees` is a matter of its own: `colour`, `lightness`, `edges`, or colour and lightness in
    `halves` (see `seeing`).
    An encoder of signals takes [B, C, L] in place of [B, 3, S, S] and gives maps [B, C, l]; its `image_size` is L.

    Use `build_encoder` or `load_encoder` to get one. Heads train on `vector`: all parameters get a
    gradient from it, while parameters behind the last map get none from `forward`.

    Attributes:
        name: as timm or this package calls it.
        image_size: side of the images in pixels.
        sees: `colour`, `lightness`, `edges` or `halves`.
        width: channels of the last map.
        side: of the last map.
        vector_width: length of the vector.
        stage_names: first to last.

    Args:
        description: what `description()` gives and `encoder.json` holds; weights are drawn anew.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, description: dict[str, Any]) -> None:
        super().__init__()
        self.name: str = description["name"]
        self.image_size: int = description["image_size"]
        self.arguments: dict[str, Any] = dict(description.get("arguments", {}))
        self.stem: dict[str, dict[str, Any]] = dict(description.get("stem", {}))
        usual = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}
        self.colours = {key: [float(v) for v in description.get(key, value)] for key, value in usual.items()}
        self.sees: str = description.get("sees", "colour")
        self.labels: str = description.get("labels", "none")  # one of `descriptions.LABELS`
        self.inner = _inner(self.name, self.image_size, self.arguments, self.stem, len(self.colours["mean"]), self.sees)
        self.register_buffer("mean", torch.tensor(self.colours["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(self.colours["std"]), persistent=False)
        first = self.inner.lightness if isinstance(self.inner, seeing.Halves) else self.inner
        self.stage_names, self._picked = trunks.stages_of(first)  # numbers of timm's stages
        self.width, self.side, self.vector_width = self._measure()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input: (3, S, S), or (C, L) of signals."""
        return len(self.colours["mean"]), *[self.image_size] * (1 if reads_signals(self.name) else 2)

    def forward(self, images: Float[Tensor, "B c *S"]) -> Float[Tensor, "B C *s"]:
        """Give the last map."""
        return _joined([trunks.last_map(network, values, self._picked) for network, values in self.inputs(images)])

    def stages(self, images: Float[Tensor, "B c *S"]) -> dict[str, Tensor]:
        """Give the map [B, C, h, w] of every stage, first to last."""
        found = [trunks.maps(network, values, self._picked) for network, values in self.inputs(images)]
        return dict(zip(self.stage_names, map(_joined, zip(*found, strict=True)), strict=True))

    def vector(self, images: Float[Tensor, "B c *S"]) -> Float[Tensor, "B D"]:
        """Give the pooled vector in front of the classifier."""
        return _joined([trunks.vector(network, values) for network, values in self.inputs(images)])

    def map_and_vector(self, images: Float[Tensor, "B c *S"]) -> tuple[Float[Tensor, "B C *s"], Float[Tensor, "B D"]]:
        """Give what `forward` and `vector` give, in one pass."""
        found = [trunks.map_and_vector(network, values, self._picked) for network, values in self.inputs(images)]
        maps, vectors = zip(*found, strict=True)
        return _joined(maps), _joined(vectors)

    def stages_and_vector(self, images: Float[Tensor, "B c *S"]) -> tuple[dict[str, Tensor], Float[Tensor, "B D"]]:
        """Give what `stages` and `vector` give, in one pass."""
        found = [trunks.maps_and_vector(network, values, self._picked) for network, values in self.inputs(images)]
        maps, vectors = zip(*found, strict=True)
        return dict(zip(self.stage_names, map(_joined, zip(*maps, strict=True)), strict=True)), _joined(vectors)

    def normalize(self, images: Float[Tensor, "B c *S"]) -> Float[Tensor, "B _ *S"]:
        """Put images in [0, 1] into the units the network reads; 0 is then the mean colour, or gray, or no edge."""
        if self.sees in ("lightness", "halves"):
            return seeing.normalize(self.sees, images)
        standard = (images - self._per_channel(self.mean)) / self._per_channel(self.std)
        return seeing.edges(standard, whole=self.name not in BUILT_IN) if self.sees == "edges" else standard

    def denormalize(self, values: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
        """Undo `normalize`: give the images that the network would read as these values.

        Raises:
            InputError: if the network sees edges, from which no image follows.
        """
        if self.sees == "edges":
            raise InputError("An encoder that sees edges cannot show what it read as an image; let it see colour.")
        if self.sees != "colour":
            return seeing.denormalize(self.sees, values)
        return values * self._per_channel(self.std) + self._per_channel(self.mean)

    def description(self) -> dict[str, Any]:
        """Say how to build this encoder again (the content of `encoder.json`)."""
        return {
            "format": 1,
            "name": self.name,
            "image_size": self.image_size,
            "arguments": self.arguments,
            "stem": self.stem,
            **self.colours,
            "width": self.width,
            "vector_width": self.vector_width,
            "stage_names": list(self.stage_names),
            **({} if self.sees == "colour" else {"sees": self.sees}),
            **({} if self.labels == "none" else {"labels": self.labels}),
        }

    def _per_channel(self, values: Tensor) -> Tensor:
        """See a number per channel as [C, 1, 1], or [C, 1] of signals."""
        return values.view(-1, *[1] * (len(self.shape) - 1))

    def inputs(self, images: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """Give the network with what it reads of the images; of halves, both."""
        normalized = self.normalize(images)
        return self.inner.inputs(normalized) if isinstance(self.inner, seeing.Halves) else [(self.inner, normalized)]

    @torch.no_grad()
    def _measure(self) -> tuple[int, int, int]:
        """Give channels and side of the last map and the width of the vector, by a trial with two images."""
        self.eval()
        last_map, vector = self.map_and_vector(torch.zeros(2, *self.shape))
        self.train()
        return last_map.shape[1], last_map.shape[2], vector.shape[1]


def build_encoder(
    name: str,
    image_size: int,
    *,
    seed: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    sees: str = "colour",
) -> Encoder:
    """Build an encoder with random weights; nothing is ever downloaded.

    Args:
        name: `small`, `alexnet`, `nin` or any name of timm's; `scattering` and `pixels`, which have no parameters;
            `small1d` for signals.
        image_size: side of the images in pixels, 32 to 224; length of signals in samples.
        seed: the same seed gives the same weights, whatever was drawn before, and leaves torch's
            generator as it was. None: weights are drawn from torch's generator.
        mean: of each channel; by default ImageNet's, in [0, 1], and 0 for signals of one channel.
        std: of each channel; by default ImageNet's, and 1 for signals.
        sees: `colour`; `lightness` of CIE Lab, whatever mean and std; `edges`, Sobel's two maps of the gray image; or
            `halves`, two networks of half the width for lightness and colour (two whole ones of timm's).

    Raises:
        InputError: if there is no such encoder or it cannot take images of this size.
    """
    check_encoder_name(name, image_size)
    if sees not in SEEN:
        raise InputError(f"An encoder sees {', '.join(SEEN[:-1])} or {SEEN[-1]}, got {sees!r}.")
    if reads_signals(name) and sees != "colour":
        raise InputError(f"{name} reads signals, which have no {sees} to see; use an encoder of images such as small.")
    if name in FIXED and sees != "colour":
        raise InputError(f"{name} sees colour, got sees={sees!r}; leave it out.")
    ours = name in OURS
    arguments, stem = ({}, {}) if ours else fitting.fit_to_size(architecture(name), image_size)
    usual = ((0.0,), (1.0,)) if reads_signals(name) else (IMAGENET_MEAN, IMAGENET_STD)
    description = {
        "name": name if ours else architecture(name), "image_size": image_size, "arguments": arguments, "stem": stem,
        "mean": list(usual[0] if mean is None else mean), "std": list(usual[1] if std is None else std), "sees": sees,
    }  # fmt: skip
    with nullcontext() if seed is None else torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        return Encoder(description)


def save_encoder(encoder: Encoder, folder: Path | str) -> None:
    """Write `encoder.safetensors` (keys of the inner network) and `encoder.json` into a folder, each atomically."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(encoder, folder / "encoder.safetensors")
    text = json.dumps(encoder.description(), indent=2) + "\n"
    write_atomically(folder / "encoder.json", text.encode())


def write_weights(encoder: Encoder, file: Path) -> None:
    """Write the inner network's tensors to one file that also carries the encoder's description."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in encoder.inner.state_dict().items()}
    # one entry only: the order of several is not fixed, and the same weights shall give the same bytes
    write_atomically(file, save(tensors, metadata={"selfsup": json.dumps(encoder.description())}))


def load_encoder(place: Path | str) -> Encoder:
    """Load an encoder from a run folder, from its `encoder.safetensors`, or from an exported file.

    Raises:
        InputError: if there is no encoder or its files do not belong together.
    """
    place = Path(place)
    weights = place / "encoder.safetensors" if place.is_dir() else place.with_suffix(".safetensors")
    tensors, metadata = read_tensors(weights)
    description = find_description(weights, metadata, beside_first=place.is_dir())
    if description is None:
        raise InputError(
            f"{weights} does not say which encoder it holds, and there is no readable "
            f"{weights.with_suffix('.json').name} beside it; give a run folder, or use the file as initial weights "
            "(--init)."
        )
    check_encoder_name(description["name"], description["image_size"])
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and overwritten
        encoder = Encoder(description)
    wanted = encoder.inner.state_dict()
    wrong = sorted(key for key in wanted.keys() | tensors.keys() if not same_shape(wanted.get(key), tensors.get(key)))
    if wrong:
        raise InputError(
            f"{weights} does not fit {encoder.name} at {encoder.image_size} pixels: {len(wrong)} of {len(wanted)} "
            f"tensors are missing or of another shape, first {wrong[0]}; give both files of one run."
        )
    copy_into(tensors, wanted)
    return encoder


def takes(encoder: Encoder, side: int) -> bool:
    """Say whether an encoder takes images of another side; transformers and networks of large strides often do not."""
    was_training = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            encoder.map_and_vector(encoder.mean.new_zeros(1, 3, side, side))
    except (AssertionError, RuntimeError, ValueError):
        return False
    finally:
        encoder.train(was_training)
    return True


def behind_last_map(encoder: Encoder) -> list[str]:
    """Name the parameters that `vector` depends on and the last map does not (final norms, for one)."""
    names, parameters = zip(*encoder.named_parameters(), strict=True)
    was_training = encoder.training
    encoder.eval()
    with torch.enable_grad():
        last_map = encoder(encoder.mean.new_zeros(1, *encoder.shape))
        gradients = torch.autograd.grad(last_map.sum(), parameters, allow_unused=True)
    encoder.train(was_training)
    return [name for name, gradient in zip(names, gradients, strict=True) if gradient is None]


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Lay the channels of halves side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def _inner(
    name: str, image_size: int, arguments: dict[str, Any], stem: dict[str, dict[str, Any]], channels: int, sees: str
) -> nn.Module:
    if reads_signals(name):
        return signals.small1d(image_size, channels)
    whole = name not in BUILT_IN + FIXED

    def build(channels: int, divisor: int = 1) -> nn.Module:
        return fitting.create(name, arguments, stem) if whole else _BUILDERS[name](image_size, channels, divisor)

    if sees == "halves":
        return seeing.Halves(lambda channels: build(channels, 2), whole)
    return build(2 if sees == "edges" else channels)
