"""The winning probe on disk: one safetensors file whose metadata says what it sorts images into."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from selfsup.errors import InputError
from selfsup.evaluation.linear import LinearProbe
from selfsup.networks.files import read_tensors, write_atomically

FILE = "evaluation/probe.safetensors"
"""Where a run keeps it."""


@dataclass(frozen=True)
class SavedProbe:
    """A probe with what is needed to use it."""

    probe: LinearProbe
    classes: list[str]
    stage: str
    max_width: int
    """To which the stage's maps were pooled."""
    labels: int
    """Labelled images it was trained on."""
    balanced_accuracy: float
    """On the test images."""

    def write(self, folder: Path) -> Path:
        """Write into a run folder, atomically."""
        tensors = {
            name: torch.from_numpy(np.ascontiguousarray(getattr(self.probe, name)))
            for name in ("weight", "bias", "mean", "std")
        }
        about = asdict(self) | {"probe": {"lambda": self.probe.lambda_}}
        write_atomically(folder / FILE, save(tensors, metadata={"selfsup": json.dumps(about)}))
        return folder / FILE

    @classmethod
    def read(cls, folder: Path) -> "SavedProbe":
        """Read from a run folder."""
        file = folder / FILE
        if not file.is_file():
            raise InputError(
                f"{str(folder)!r} has no probe yet; train one with: selfsup evaluate {folder} --labels FOLDER."
            )
        tensors, metadata = read_tensors(file)
        about = json.loads(metadata["selfsup"])
        arrays = {name: tensors[name].numpy() for name in ("weight", "bias", "mean", "std")}
        probe = LinearProbe(**arrays, lambda_=about.pop("probe")["lambda"])
        return cls(probe, **about)
