"""A run's whole pretext model, encoder and heads, as its last checkpoint left it."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selfsup import methods
from selfsup.data.images import ImageStore
from selfsup.errors import InputError
from selfsup.method import Method
from selfsup.networks.encoders import build_encoder
from selfsup.run import Run
from selfsup.training import checkpoint
from selfsup.training.build import facts_of


def restored(run: Run, images: ImageStore, device: torch.device, changes: Mapping[str, Any] | None = None) -> Method:
    """Build a run's method again and load its weights, in eval mode.

    Args:
        run: folder of a run that was started.
        images: where the method takes priors and bases from, if it needs any before its state is loaded.
        device: where it shall be.
        changes: arguments of the constructor that differ from the run's; shapes of weights must not.

    Raises:
        InputError: if the run has no checkpoint, or one that does not fit its settings.
    """
    config = run.config
    file = _checkpoint(run)
    kind = methods.load(config["method"])
    own = {name for name, p in inspect.signature(kind).parameters.items() if p.kind is p.KEYWORD_ONLY}
    arguments = {name: value for name, value in config.items() if name in own} | dict(changes or {})
    mean, std = (config["resolved"].get(name) for name in ("mean", "std"))  # of signals: measured
    sees = methods.sees(config["method"], arguments)
    encoder = build_encoder(config["encoder"], config["image_size"], seed=config["seed"], mean=mean, std=std, sees=sees)
    method = kind(encoder, **arguments).to(device)
    count = config["resolved"]["training_images"]
    method.start(facts_of(images, config["image_size"], config["seed"], device)._replace(count=count))
    checkpoint.load_weights(file, method)
    return method.eval()


def step_of_run(run: Run) -> int:
    """Say after how many batches a run's last checkpoint was taken."""
    return checkpoint.step_of(_checkpoint(run))


def _checkpoint(run: Run) -> Path:
    # checkpoint.newest tidies up, which is for the run itself to do: it may be training just now
    file = max((run.folder / "checkpoint").glob("*.safetensors"), default=None)
    if file is None:
        raise InputError(f"The run {str(run.folder)!r} has no checkpoint, and the heads of its task are kept there.")
    return file
