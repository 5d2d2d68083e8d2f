"""A run's whole pretext model, encoder and heads, as its last checkpoint left it."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import safe_open

from selfsup import methods
from selfsup.data.images import ImageStore
from selfsup.errors import InputError
from selfsup.method import DataFacts, Method
from selfsup.networks.encoders import build_encoder
from selfsup.run import Run
from selfsup.training import checkpoint
from selfsup.training.build import sampler


def restored(run: Run, images: ImageStore, device: torch.device, changes: Mapping[str, Any] | None = None) -> Method:
    """Build a run's method again and load its weights, in eval mode.

    Args:
        run: folder of a run that was started.
        images: where the method takes priors and bases from, if it needs any before its state is loaded.
        device: where it shall be.
        changes: arguments of the constructor that differ from the run's; shapes of weights must not.

    Raises:
        InputError: if the run has no checkpoint.
    """
    config = run.config
    file = checkpoint.newest(run.folder / "checkpoint")
    if file is None:
        raise InputError(f"The run {str(run.folder)!r} has no checkpoint, and the heads of its task are kept there.")
    kind = methods.load(config["method"])
    own = {name for name, p in inspect.signature(kind).parameters.items() if p.kind is p.KEYWORD_ONLY}
    arguments = {name: value for name, value in config.items() if name in own} | dict(changes or {})
    encoder = build_encoder(config["encoder"], config["image_size"], seed=config["seed"])
    method = kind(encoder, **arguments).to(device)
    count = config["resolved"]["training_images"]
    method.start(DataFacts(count, config["image_size"], sampler(images, config["seed"], device)))
    with safe_open(file, framework="pt") as stored, torch.no_grad():
        for name, tensor in method.state_dict().items():
            tensor.copy_(stored.get_tensor(f"method.{name}"))
    return method.eval()
