"""From settings and images to a method ready to train."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup import methods, processes
from selfsup.data.batches import as_floats, clean_batches
from selfsup.data.images import ImageStore
from selfsup.draws import mix, reseed
from selfsup.method import DataFacts, Method
from selfsup.networks import filters
from selfsup.networks.encoders import Encoder, build_encoder, reestimate_norms
from selfsup.networks.given import let_in, load_weights
from selfsup.networks.names import WAYS
from selfsup.networks.norm import synchronize
from selfsup.training.computation import Computation
from selfsup.training.loop import autocast_of
from selfsup.training.settings import Settings
from selfsup.views.crops import center

NORM_IMAGES = 1024
"""Clean images from which batch-norm statistics are re-estimated before an encoder is kept."""


@dataclass
class Trainee:
    """A method on its device, with its optimizers."""

    method: Method
    optimizers: dict[str, Optimizer]
    device: torch.device
    start_seconds: float
    """That `Method.start` took."""


def build(settings: Settings, images: ImageStore) -> Trainee:
    """Build encoder, method and optimizers; equal settings give equal weights in every process.

    Args:
        settings: resolved.
        images: the training set.
    """
    device = torch.device(settings.device)
    # the seed alone decides the encoder, so all methods of one seed start from the same weights
    encoder = initial_encoder(settings, images)
    said = let_in(encoder, encoder.labels, f"the weights in {settings.init}")
    reseed(settings.seed, 0x5E1F)
    method = methods.load(settings.method)(encoder, **settings.arguments)
    computation = Computation(settings.precision, settings.layout)
    method.to(device=device, memory_format=computation.memory_format())  # type: ignore[call-overload]
    if processes.count() > 1:
        synchronize(method)
    began = perf_counter()
    method.start(facts_of(images, settings.image_size, settings.seed, device))
    taken = perf_counter() - began
    method.remarks = (*said, *method.remarks)  # those of `start` too
    return Trainee(method.train(), method.optimizers(settings.recipe), device, taken)


def initial_encoder(settings: Settings, images: ImageStore) -> Encoder:
    """Build the encoder as training finds it: random from the seed, from images as `init` says, or from its file."""
    sees = methods.sees(settings.method, settings.arguments)
    mean, std = settings.channels or (None, None)
    encoder = build_encoder(settings.encoder, settings.image_size, seed=settings.seed, mean=mean, std=std, sees=sees)
    if settings.init in WAYS:
        _fit_filters(encoder.to(settings.device), settings, images)
    elif settings.init is not None:
        load_weights(encoder, Path(settings.init))
    return encoder


def _fit_filters(encoder: Encoder, settings: Settings, images: ImageStore) -> None:
    """Make the first weights from training images; all processes get those of process 0."""
    size = settings.image_size
    few = sampler(images, settings.seed, encoder.mean.device)(filters.images_needed(size))
    filters.initialise(encoder, center(few, size), settings.init, settings.seed)  # type: ignore[arg-type]
    for tensor in encoder.state_dict().values():
        processes.broadcast(tensor)


def untrained_encoder(trainee: Trainee, settings: Settings, images: ImageStore) -> Encoder:
    """Build the encoder that training is compared with: of random weights, or of filters made from images as its own.

    Weights from a file are what other training has made, and no untrained network has them.
    """
    encoder = initial_encoder(replace(settings, init=None), images)
    if settings.init in WAYS:
        encoder.load_state_dict(trainee.method.encoder.state_dict())  # it was just built
    return encoder


def with_clean_norms(encoder: Encoder, images: ImageStore) -> Encoder:
    """Re-estimate batch-norm statistics in place on clean images spread over the training set."""
    device = encoder.mean.device
    few = images.select(np.unique(np.linspace(0, len(images) - 1, min(NORM_IMAGES, len(images)), dtype=np.int64)))
    reestimate_norms(encoder, clean_batches(few, encoder.image_size, 128, device))
    return encoder


def embedder(
    images: ImageStore, size: int, device: torch.device, precision: str = "float32"
) -> Callable[[nn.Module], Tensor]:
    """Give a function from a module to its features [N, D] of the unaugmented training set, in index order.

    They are float32 at least; in `bfloat16` the module computes in that where it may.
    """

    @torch.no_grad()
    def embed(module: nn.Module) -> Tensor:
        was_training = module.training
        module.eval()
        share = -(-len(images) // processes.count())
        # every process takes an equal share, the last one repeating the final image, so that gathering is even
        numbers = np.minimum(np.arange(share) + processes.rank() * share, len(images) - 1)
        with autocast_of(device, precision)():
            features = [module(x) for x in clean_batches(images.select(numbers), size, 256, device)]
        in_full = (part.to(torch.promote_types(part.dtype, torch.float32)) for part in features)
        gathered = processes.in_rank_order(in_full)[: len(images)]
        module.train(was_training)
        return gathered

    return embed


def facts_of(images: ImageStore, size: int, seed: int, device: torch.device) -> DataFacts:
    """Say what a method may know of its data before it starts."""
    return DataFacts(len(images), size, sampler(images, seed, device), images.clips)


def sampler(images: ImageStore, seed: int, device: torch.device) -> Callable[[int], Tensor]:
    """Give the function with which a method looks at n training images before it starts, always the same ones."""

    def sample(count: int) -> Tensor:
        numbers = np.random.default_rng(mix(seed, 0xDA7A)).permutation(len(images))[:count]
        return as_floats(torch.from_numpy(images.rows(np.sort(numbers))).to(device))

    return sample
