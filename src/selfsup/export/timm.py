"""Give an encoder away: a safetensors file that timm loads, checked by loading it there."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsup.data.batches import as_floats
from selfsup.data.images import open_images
from selfsup.errors import InputError
from selfsup.networks import fitting
from selfsup.networks.encoders import Encoder, load_encoder, write_weights
from selfsup.networks.files import read_tensors
from selfsup.networks.names import BUILT_IN
from selfsup.progress import Progress, silent
from selfsup.run import Run, read_yaml

COMPARED = 32
"""Images on which features are compared."""


@dataclass(frozen=True)
class ExportReport:
    """What was written and how it fared where it was loaded again."""

    file: Path
    encoder: str
    reader: str
    """What loaded the file again: `timm.create_model` or `selfsup.load_encoder`."""
    tensors: int
    """In the file."""
    matched: int
    """Of them that the reader's network took, by name and shape."""
    missing: tuple[str, ...]
    """Tensors of the reader's network that the file does not have: its classifier."""
    largest_difference: float
    """Between features of the same images there and here."""
    images: int
    source: str
    """Of the images."""
    snippet: str
    """Three lines that load the file."""
    takes: str
    """What the loaded network takes as its input, in words."""

    def __str__(self) -> str:
        """Put it into sentences."""
        missing = f"missing there: {', '.join(self.missing)} (the classifier)" if self.missing else "nothing is missing"
        lines = [
            f"{self.file}: {self.encoder}, loaded again by {self.reader}.",
            f"{self.matched} of {self.tensors} tensors matched; {missing}.",
            f"Largest difference of features on {self.images} images ({self.source}): {self.largest_difference:.2g}.",
        ]
        if self.encoder in BUILT_IN:
            lines.append(f"timm has no {self.encoder}; load it with selfsup:")
        lines.append(f"It takes {self.takes}.")
        return "\n".join([*lines, "", *(f"    {line}" for line in self.snippet.splitlines())])


def export(
    run: Run | Path | str,
    *,
    out: Path | str,
    images: Any = None,
    cache: Path | None = None,
    progress: Progress = silent,
) -> ExportReport:
    """Write a run's encoder as safetensors that timm loads, load it there and compare features.

    Args:
        run: run folder.
        out: the file, ending in .safetensors.
        images: folder of images, or what else `pretrain` takes, to compare features on; by default those of the run.
        cache: folder of decoded images; by default the user's cache.
        progress: told what is being done.

    Raises:
        InputError: if there is no encoder, or `out` has another ending.
    """
    folder, file = run.folder if isinstance(run, Run) else Path(run), Path(out)
    if file.suffix != ".safetensors":
        raise InputError(f"Encoders are written as .safetensors, got {str(file)!r}; try {file.stem}.safetensors.")
    encoder = load_encoder(folder).eval()
    batch, source = _real_images(encoder, folder, images, cache, progress)
    write_weights(encoder, file)
    if encoder.name in BUILT_IN:
        return _by_selfsup(encoder, file, batch, source)
    return _by_timm(encoder, file, batch, source)


@torch.no_grad()
def _by_timm(encoder: Encoder, file: Path, batch: Float[Tensor, "B 3 S S"], source: str) -> ExportReport:
    """Load the file into timm's own network with its classifier, as a user would, and compare."""
    import timm

    network: Any = timm.create_model(encoder.name, pretrained=False, **encoder.arguments)
    fitting.change_stem(network, encoder.stem)
    tensors, _ = read_tensors(file)
    own = network.state_dict()
    fitting_ones = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    missing = network.load_state_dict(fitting_ones, strict=False).missing_keys
    network.eval()
    normalized = encoder.normalize(batch)
    there = network.forward_head(network.forward_features(normalized), pre_logits=True).flatten(1)
    difference = (there - encoder.vector(batch)).abs().max().item()
    snippet = "\n".join(
        [
            "import safetensors.torch, timm, torch",
            "; ".join([f"model = timm.create_model({_call(encoder)})", *_stem_code(encoder)]),
            f"model.load_state_dict(safetensors.torch.load_file({json.dumps(str(file))}))",
        ]
    )
    return ExportReport(
        file, encoder.name, f"timm.create_model({encoder.name!r})", len(tensors), len(fitting_ones), tuple(missing),
        difference, len(batch), source, snippet,
        f"RGB in [0, 1] less the mean {encoder.colours['mean']}, divided by the deviation {encoder.colours['std']}",
    )  # fmt: skip


@torch.no_grad()
def _by_selfsup(encoder: Encoder, file: Path, batch: Float[Tensor, "B 3 S S"], source: str) -> ExportReport:
    again = load_encoder(file).eval()
    difference = (again.vector(batch) - encoder.vector(batch)).abs().max().item()
    tensors, _ = read_tensors(file)
    matched = sum(key in tensors for key in again.inner.state_dict())
    snippet = "\n".join(
        [
            "import selfsup, torch",
            f"encoder = selfsup.load_encoder({json.dumps(str(file))}).eval()",
            f"vectors = encoder.vector(torch.rand(1, 3, {encoder.image_size}, {encoder.image_size}))  # RGB in [0, 1]",
        ]
    )
    return ExportReport(
        file, encoder.name, "selfsup.load_encoder", len(tensors), matched, (), difference, len(batch), source, snippet,
        "RGB in [0, 1]",
    )  # fmt: skip


def _call(encoder: Encoder) -> str:
    arguments = "".join(f", {name}={value!r}" for name, value in encoder.arguments.items())
    return f"{json.dumps(encoder.name)}, num_classes=0{arguments}"


def _stem_code(encoder: Encoder) -> list[str]:
    """Say in Python what was changed at the stem."""
    return [_change_code(encoder.inner, place, change) for place, change in encoder.stem.items()]


def _change_code(network: nn.Module, place: str, change: Mapping[str, Any]) -> str:
    if change == {"identity": True}:
        return f"model.set_submodule({json.dumps(place)}, torch.nn.Identity())"
    convolution = network.get_submodule(place)
    assert isinstance(convolution, nn.Conv2d)
    shape, stride, padding = tuple(convolution.weight.shape), convolution.stride, convolution.padding
    if type(convolution) is nn.Conv2d:
        more = "" if convolution.bias is not None else ", bias=False"
        made = f"torch.nn.Conv2d({shape[1]}, {shape[0]}, {shape[2]}, {stride[0]}, {padding[0]}{more})"
        return f"model.set_submodule({json.dumps(place)}, {made})"
    return (
        f"conv = model.get_submodule({json.dumps(place)}); conv.weight = torch.nn.Parameter(torch.empty{shape}); "
        f"conv.stride, conv.padding = {stride}, {padding}"
    )


def _real_images(
    encoder: Encoder, folder: Path, images: Any, cache: Path | None, progress: Progress
) -> tuple[Float[Tensor, "B 3 S S"], str]:
    """Give some of the images named, of the run's own, or else rendered scenes; and say which they are."""
    size, store_size = encoder.image_size, None
    source = images
    if source is None and (folder / "config.yaml").is_file():
        config = read_yaml(folder / "config.yaml")
        source, store_size = config.get("data"), config.get("store_size")
    try:
        store = open_images(
            "scenes:64" if source is None else source, size, store_size=store_size, cache=cache, progress=progress,
            min_images=1,
        )  # fmt: skip
    except InputError:
        if images is not None:
            raise
        source = None  # the run's images are no longer where they were
        store = open_images("scenes:64", size, cache=cache, progress=progress, min_images=1)
    rows = np.unique(np.linspace(0, len(store) - 1, min(COMPARED, len(store)), dtype=np.int64))
    pixels = as_floats(torch.from_numpy(store.rows(rows)))
    start = (pixels.shape[-1] - size) // 2
    name = "rendered scenes" if source is None else store.source
    return pixels[..., start : start + size, start : start + size].contiguous(), name
