"""What pretraining has to beat, as ordinary run folders: encoders that nothing was trained in."""

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, get_args

import numpy as np
import torch

from selfsup.data.batches import as_floats, clean_batches
from selfsup.data.images import ImageStore
from selfsup.data.inputs import open_inputs, size_for
from selfsup.data.signals import statistics
from selfsup.errors import InputError
from selfsup.evaluation.features import device_named, frozen
from selfsup.evaluation.retrieval import neighbour_sheet, write_png
from selfsup.evaluation.wavelets import orders_sheet
from selfsup.networks.encoders import Encoder, build_encoder, save_encoder, write_weights
from selfsup.networks.filter_sheet import filter_sheet
from selfsup.networks.filters import images_needed, initialise
from selfsup.networks.names import FIXED, check_encoder_name, reads_signals, refuse_training
from selfsup.networks.scattering import Scattering
from selfsup.progress import Progress, silent
from selfsup.run import Run, read_yaml, write_json, write_skipped, write_yaml
from selfsup.training.build import sampler, with_clean_norms
from selfsup.training.held_out import hold_out
from selfsup.training.prepare import display, fingerprint_of
from selfsup.training.settings import refuse_changes
from selfsup.views.crops import center

Name = Literal["untrained", "pixels", "scattering", "random", "pca", "kmeans"]
NAMES: tuple[str, ...] = get_args(Name)
SHOWN = 8
"""Images in the picture of wavelets."""
WIDE = 900
"""Pixels up to which it is enlarged, by a whole factor."""
TIMED = 256
"""Images on which the speed of an encoder is measured."""


def baseline(
    name: Name,
    data: Any,
    *,
    out: Path | None = None,
    encoder: str | None = None,
    image_size: int | None = None,
    store_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    cache: Path | None = None,
    progress: Progress = silent,
) -> Run:
    """Write a run folder without training: fixed wavelets, raw pixels, or a network as it is before training.

    Everything that reads a run reads it too: evaluate, predict, embed, export, report. No labels are used.

    Args:
        name: `scattering` (fixed wavelets) and `pixels` have no parameters; `untrained` is the network of random
            weights that stands beside every run; `random`, `pca` and `kmeans` are networks whose filters are drawn,
            principal directions of patches or their cluster centres, scaled by what they read of the images.
        data: folder of images, or what else `pretrain` takes.
        out: run folder; by default `runs/NAME-DATA`.
        encoder: the network, for those that are one; by default `small`.
        image_size: side in pixels of what the encoder sees; by default what the images offer, 32 to 96.
        store_size: side in pixels at which images are decoded; by default 8/7 of the image size, never above the
            source.
        seed: of the weights.
        device: `auto`, `cpu` or `cuda`.
        cache: folder of decoded images; by default the user's cache.
        progress: told what is being done.

    Returns: the run.

    Raises:
        InputError: for settings or images that cannot be used.
    """
    network = _network(name, encoder)
    place = device_named(device)
    folder = Path(out) if out is not None else default_folder(name, data)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"The run folder {str(folder)!r} is a file; give --out a folder.")
    size = image_size or size_for(network, data)
    images = open_inputs(network, data, size, store_size=store_size, cache=cache, progress=progress)
    config = {
        "name": name, "data": display(data), "encoder": network, "image_size": size,
        "store_size": int(images.rows(np.arange(1)).shape[-1]), "seed": seed, "device": place.type,
    }  # fmt: skip
    run = Run(folder)
    resolved = {"images": fingerprint_of(images), "training_images": len(images)}
    if (folder / "config.yaml").is_file():
        _refuse_other(read_yaml(folder / "config.yaml"), config, resolved, folder)
        if run.is_finished:
            return run
    write_yaml(folder / "config.yaml", {**config, "resolved": resolved})
    write_skipped(folder / "skipped.csv", images.skipped)
    for note in images.notes:
        progress.note(note)
    began = perf_counter()
    training, held_out = hold_out(images)
    made = _make(name, network, size, seed, training, place, folder)
    seconds = perf_counter() - began
    _draw(made, held_out if len(held_out) else training, training, folder)
    save_encoder(made, folder)
    write_json(
        folder / "summary.json",
        {
            "baseline": name, "encoder": made.name, "seconds": round(seconds, 3), "images": len(training),
            "parameters": sum(parameter.numel() for parameter in made.parameters()),
            "images_per_second": round(_speed(made, training), 1), "device": place.type,
            "threads": torch.get_num_threads(),
            "versions": {"selfsup": version("selfsup"), "torch": torch.__version__, "python": sys.version.split()[0]},
        },
    )  # fmt: skip
    return run


def default_folder(name: str, data: Any) -> Path:
    """Name the run after the baseline and its data."""
    given = Path(str(data)).stem if isinstance(data, str | Path) else "array"
    return Path("runs") / f"{name}-{given.replace(':', '-') or 'data'}"


def _network(name: str, encoder: str | None) -> str:
    """Give the name of the encoder that a baseline is made of."""
    if name not in NAMES:
        raise InputError(f"There is no baseline {name!r}; choose {', '.join(NAMES[:-1])} or {NAMES[-1]}.")
    if name in FIXED:
        if encoder not in (None, name):
            raise InputError(f"The baseline {name} is an encoder of its own, got --encoder {encoder}; leave it out.")
        return name
    network = encoder or "small"
    check_encoder_name(network)
    refuse_training(network)
    return network


def _make(
    name: Name, network: str, size: int, seed: int, images: ImageStore, device: torch.device, folder: Path
) -> Encoder:
    """Build the encoder; one made from images leaves the same network with plain random weights beside it."""
    mean, std = statistics(images) if reads_signals(network) else (None, None)
    encoder = build_encoder(network, size, seed=seed, mean=mean, std=std).to(device)
    if name == "scattering" or name == "pixels":  # what is left of `Name` is known to be a network
        return encoder
    with_clean_norms(encoder, images)
    if name == "untrained":
        return encoder
    write_weights(encoder, folder / "untrained.safetensors")
    few = sampler(images, seed, device)(images_needed(size))
    initialise(encoder, center(few, size), name, seed)
    return with_clean_norms(encoder, images)


def _draw(encoder: Encoder, images: ImageStore, searched: ImageStore, folder: Path) -> None:
    """Draw what fixed wavelets find in some images, or a network's first filters, and what is taken for alike."""
    if reads_signals(encoder.name):
        return
    if isinstance(encoder.inner, Scattering):
        shown = np.unique(np.linspace(0, len(images) - 1, min(SHOWN, len(images)), dtype=np.int64))
        few = as_floats(torch.from_numpy(images.rows(shown)))
        drawn = orders_sheet(encoder.inner, center(few, encoder.image_size))
        times = max(1, WIDE // drawn.shape[2])
        large = drawn.repeat_interleave(times, 1).repeat_interleave(times, 2)
        write_png(large, folder / "figures" / "scattering.png")
    filters = filter_sheet(encoder)
    if filters is not None:
        write_png(filters, folder / "figures" / "first filters.png")
    neighbour_sheet(encoder, searched, folder / "sheets" / "neighbours.png")


def _speed(encoder: Encoder, images: ImageStore) -> float:
    """Measure how many images a second the encoder turns into maps."""
    few = images.select(np.arange(min(TIMED, len(images))))
    batches = list(clean_batches(few, encoder.image_size, 64, encoder.mean.device))
    with frozen(encoder):
        encoder(batches[0])
        began = perf_counter()
        for batch in batches:
            encoder(batch).sum().item()  # waits for an accelerator
    return len(few) / (perf_counter() - began)


def _refuse_other(before: Mapping[str, Any], now: Mapping[str, Any], resolved: Mapping[str, Any], folder: Path) -> None:
    """Refuse a folder that holds another run, or one of other images."""
    if "name" not in before:
        raise InputError(f"{str(folder)!r} holds a run of {before.get('method', 'something else')}; use another --out.")
    refuse_changes(before, now, folder)
    if (before.get("resolved") or {}).get("images") != resolved["images"]:
        raise InputError(
            f"The images of {now['data']!r} have changed since the run {str(folder)!r} was started; use another --out."
        )
