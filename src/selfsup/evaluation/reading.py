"""What belongs to a run: what it reads of a folder, its seed, and the same network untrained."""

from pathlib import Path

import numpy as np

from selfsup import methods
from selfsup.data.clip_folders import Wanted
from selfsup.data.images import ImageStore
from selfsup.evaluation.features import batches, device_of
from selfsup.networks.encoders import Encoder, build_encoder, load_encoder, reestimate_norms
from selfsup.networks.names import WAYS
from selfsup.run import Run


def wanted_of(folder: Path) -> Wanted:
    """Say what is read of a folder for a run: frames in folders are clips to methods that read clips, else images."""
    if not (folder / "config.yaml").is_file():
        return "images"
    name = Run(folder).config.get("method")
    return "either" if name in methods.METHODS and "clips" in methods.load(name).reads else "images"


def seed_of(folder: Path) -> int:
    """Give the seed of a run; 0 where nothing is known of it."""
    file = folder / "config.yaml"
    return int(Run(folder).config.get("seed", 0)) if file.is_file() else 0


def untrained_of(folder: Path, encoder: Encoder, images: ImageStore, notes: list[str]) -> Encoder:
    """Give the same network as it was before training, its batch norms estimated on clean images."""
    if (folder / "untrained.safetensors").is_file():
        return load_encoder(folder / "untrained.safetensors")
    about = encoder.description()
    untrained = build_encoder(
        encoder.name, encoder.image_size, seed=seed_of(folder), mean=about["mean"], std=about["std"], sees=encoder.sees
    )
    few = images.select(np.unique(np.linspace(0, len(images) - 1, min(1024, len(images))).astype(np.int64)))
    reestimate_norms(untrained, (batch for _, batch in batches(few, encoder.image_size, 128, device_of(untrained))))
    notes.append("The run has no untrained.safetensors; the untrained network's norms were estimated on these images.")
    if (folder / "config.yaml").is_file() and Run(folder).config.get("init") in WAYS:
        notes.append("It has random weights, not the filters that training began with.")
    return untrained
