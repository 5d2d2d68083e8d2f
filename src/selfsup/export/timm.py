"""Give an encoder away: a safetensors file that timm loads, checked by loading it there."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from selfsup.data.batches import as_floats
from selfsup.data.images import open_images
from selfsup.data.inputs import open_inputs, source_of
from selfsup.errors import InputError
from selfsup.networks import fitting, seeing
from selfsup.networks.encoders import Encoder, load_encoder, write_weights
from selfsup.networks.files import read_tensors
from selfsup.networks.names import OURS, reads_signals
from selfsup.progress import Progress, silent
from selfsup.run import Run, read_yaml
from selfsup.views import crops

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
    """Few lines that load the file."""
    takes: str
    """What the loaded network takes as its input, in words."""

    def __str__(self) -> str:
        """Put it into sentences."""
        missing = f"missing there: {', '.join(self.missing)} (the classifier)" if self.missing else "nothing is missing"
        lines = [
            f"{self.file}: {self.encoder}, loaded again by {self.reader}.",
            f"{self.matched} of {self.tensors} tensors matched; {missing}."
            if self.tensors
            else f"{self.encoder} has no tensors: the file says how to build it.",
            f"Largest difference of features on {self.images} images ({self.source}): {self.largest_difference:.2g}.",
        ]
        if self.encoder in OURS:
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
    if encoder.name in OURS:
        return _by_selfsup(encoder, file, batch, source)
    return _by_timm(encoder, file, batch, source)


@torch.no_grad()
def _by_timm(encoder: Encoder, file: Path, batch: Float[Tensor, "B 3 S S"], source: str) -> ExportReport:
    """Load the file into timm's own network with its classifier, as a user would, and compare."""
    tensors, _ = read_tensors(file)
    halves = isinstance(encoder.inner, seeing.Halves)
    prefixes = tuple(f"{name}." for name, _ in encoder.inner.named_children()) if halves else ("",)
    read = [_read_by_timm(encoder, tensors, prefix) for prefix in prefixes]
    there = torch.cat(
        [
            network.forward_head(network.forward_features(values), pre_logits=True).flatten(1)
            for (network, _, _), (_, values) in zip(read, encoder.inputs(batch), strict=True)
        ],
        dim=1,
    )
    difference = (there - encoder.vector(batch)).abs().max().item()
    return ExportReport(
        file, encoder.name, f"timm.create_model({encoder.name!r})" + " twice" * halves, len(tensors),
        sum(matched for _, matched, _ in read), tuple(name for _, _, missing in read for name in missing),
        difference, len(batch), source, _timm_code(encoder, file, prefixes), _taken_by_timm(encoder),
    )  # fmt: skip


def _read_by_timm(encoder: Encoder, tensors: Mapping[str, Tensor], prefix: str) -> tuple[Any, int, list[str]]:
    """Load the tensors with a prefix into timm's network; give it, how many matched, and the names it misses."""
    import timm

    network: Any = timm.create_model(encoder.name, pretrained=False, **encoder.arguments)
    fitting.change_stem(network, encoder.stem)
    given = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    own = network.state_dict()
    fitting_ones = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    missing = network.load_state_dict(fitting_ones, strict=False).missing_keys
    return network.eval(), len(fitting_ones), [prefix + name for name in missing]


def _timm_code(encoder: Encoder, file: Path, prefixes: Sequence[str]) -> str:
    """Write the lines that load the file: of halves, a network from the tensors with each prefix."""
    loaded = f"safetensors.torch.load_file({json.dumps(str(file))})"
    lines = ["import safetensors.torch, timm, torch", *([f"tensors = {loaded}"] if len(prefixes) > 1 else [])]
    for prefix in prefixes:
        name = prefix.rstrip(".") or "model"
        own = f'{{k[{len(prefix)}:]: v for k, v in tensors.items() if k.startswith("{prefix}")}}' if prefix else loaded
        lines += [
            "; ".join([f"{name} = timm.create_model({_call(encoder)})", *_stem_code(encoder, name)]),
            f"{name}.load_state_dict({own})",
        ]
    return "\n".join(lines)


def _taken_by_timm(encoder: Encoder) -> str:
    if encoder.sees != "colour":
        return seeing.in_words(encoder.sees, whole=True)
    return f"RGB in [0, 1] less the mean {encoder.colours['mean']}, divided by the deviation {encoder.colours['std']}"


@torch.no_grad()
def _by_selfsup(encoder: Encoder, file: Path, batch: Float[Tensor, "B C *S"], source: str) -> ExportReport:
    again = load_encoder(file).eval()
    signals = reads_signals(encoder.name)
    sees = {
        "lightness": ", and sees its lightness alone",
        "edges": ", and sees its edges alone",
        "halves": ", and sees its lightness and its colour apart",
    }
    takes = (
        "signals in the units of those it was trained on" if signals else "RGB in [0, 1]" + sees.get(encoder.sees, "")
    )
    difference = (again.vector(batch) - encoder.vector(batch)).abs().max().item()
    tensors, _ = read_tensors(file)
    matched = sum(key in tensors for key in again.inner.state_dict())
    snippet = "\n".join(
        [
            "import selfsup, torch",
            f"encoder = selfsup.load_encoder({json.dumps(str(file))}).eval()",
            f"vectors = encoder.vector(torch.rand{(1, *encoder.shape)})  # {takes}",
        ]
    )
    return ExportReport(
        file, encoder.name, "selfsup.load_encoder", len(tensors), matched, (), difference, len(batch), source, snippet,
        takes,
    )  # fmt: skip


def _call(encoder: Encoder) -> str:
    arguments = "".join(f", {name}={value!r}" for name, value in encoder.arguments.items())
    return f"{json.dumps(encoder.name)}, num_classes=0{arguments}"


def _stem_code(encoder: Encoder, name: str) -> list[str]:
    """Say in Python what was changed at the stem."""
    network = encoder.inner.lightness if isinstance(encoder.inner, seeing.Halves) else encoder.inner
    return [_change_code(network, name, place, change) for place, change in encoder.stem.items()]


def _change_code(network: nn.Module, name: str, place: str, change: Mapping[str, Any]) -> str:
    if change == {"identity": True}:
        return f"{name}.set_submodule({json.dumps(place)}, torch.nn.Identity())"
    convolution = network.get_submodule(place)
    assert isinstance(convolution, nn.Conv2d)
    shape, stride, padding = tuple(convolution.weight.shape), convolution.stride, convolution.padding
    if type(convolution) is nn.Conv2d:
        more = "" if convolution.bias is not None else ", bias=False"
        made = f"torch.nn.Conv2d({shape[1]}, {shape[0]}, {shape[2]}, {stride[0]}, {padding[0]}{more})"
        return f"{name}.set_submodule({json.dumps(place)}, {made})"
    return (
        f"conv = {name}.get_submodule({json.dumps(place)}); conv.weight = torch.nn.Parameter(torch.empty{shape}); "
        f"conv.stride, conv.padding = {stride}, {padding}"
    )


def _real_images(
    encoder: Encoder, folder: Path, images: Any, cache: Path | None, progress: Progress
) -> tuple[Float[Tensor, "B C *S"], str]:
    """Give some of the images named, of the run's own, or else rendered scenes (noise for signals); say which."""
    size, store_size = encoder.image_size, None
    signals, source = reads_signals(encoder.name), images
    if source is None and (folder / "config.yaml").is_file():
        config = read_yaml(folder / "config.yaml")
        store_size = config.get("store_size")
        source = source_of(
            encoder.name, config.get("data"), size, store_size, config.get("single_image"), config.get("single_noise")
        )
    try:
        store = open_inputs(
            encoder.name, "scenes:64" if source is None else source, size, channels=encoder.shape[0],
            store_size=store_size, cache=cache, progress=progress, least=1,
        )  # fmt: skip
    except InputError:
        if images is not None:
            raise
        if signals:
            return encoder.denormalize(torch.randn(COMPARED, *encoder.shape)), "noise"
        source = None  # the run's images are no longer where they were
        store = open_images("scenes:64", size, cache=cache, progress=progress, min_images=1)
    rows = np.unique(np.linspace(0, len(store) - 1, min(COMPARED, len(store)), dtype=np.int64))
    pixels = crops.center(as_floats(torch.from_numpy(store.rows(rows))), size)
    name = "rendered scenes" if source is None else store.source
    return pixels.contiguous(), name
