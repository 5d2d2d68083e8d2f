"""A run before its first step: settings resolved, images decoded, the number of steps fixed."""

import inspect
import os
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup import methods, processes
from selfsup.data.frames import assumed_rate
from selfsup.data.grouping import check_group, grouped
from selfsup.data.images import ImageStore
from selfsup.data.inputs import open_inputs, size_for, source_of
from selfsup.data.rounds import Rounds
from selfsup.data.signals import statistics
from selfsup.data.single import SingleImage
from selfsup.errors import InputError
from selfsup.memory import keep_pages
from selfsup.networks.names import WAYS, check_encoder_name, reads_signals, refuse_training
from selfsup.progress import Progress, silent
from selfsup.recipe import seconds as read_seconds
from selfsup.run import read_yaml
from selfsup.training.build import initial_encoder
from selfsup.training.computation import choose
from selfsup.training.held_out import hold_out, why_none
from selfsup.training.rehearsal import Rehearsal, peak_memory_mb, seconds_per_step
from selfsup.training.settings import Settings, refuse_changes, split
from selfsup.values import is_drawn


@dataclass(frozen=True)
class Prepared:
    """A run before its first step: resolved settings and its images."""

    settings: Settings
    images: ImageStore
    held_out: ImageStore
    notes: tuple[str, ...]
    config: dict[str, Any]
    """The settings as they were asked for, for `config.yaml`."""
    resolved: dict[str, Any]
    """What was measured or counted before the first step."""


def prepare(
    method: str,
    data: Any,
    *,
    folder: Path | None = None,
    encoder: str = "small",
    image_size: int | None = None,
    store_size: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    layout: str = "auto",
    threads: int | None = None,
    init: str | Path | None = None,
    cache: Path | None = None,
    single_image: int | None = None,
    single_noise: float | None = None,
    frame_rate: float | None = None,
    group: str | None = None,
    progress: Progress = silent,
    **settings: Any,
) -> Prepared:
    """Resolve settings, decode images and fix the number of steps, as `pretrain` does before its first step.

    Takes the arguments of `pretrain`; `data` may be an `ImageStore` too. Where `folder` holds a run
    already, its measured choices are used again, and settings that differ from it are refused.
    """
    keep_pages()
    recipe, arguments = split(method, settings)
    check_encoder_name(encoder)
    refuse_training(encoder)
    _refuse_signals(method, encoder)
    before = read_yaml(folder / "config.yaml") if folder is not None and (folder / "config.yaml").is_file() else None
    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"The run folder {str(folder)!r} is a file; give --out a folder.")
    if before is not None and "method" not in before:
        raise InputError(f"{str(folder)!r} holds a baseline, {before.get('name', 'of no name')}; use another --out.")
    if group is not None:
        check_group(group, data)
    start = _start_named(init)
    place = device_of(device)
    resumed = before or {}
    threads = threads or resumed.get("threads") or torch.get_num_threads()
    torch.set_num_threads(threads)
    precision = resumed["precision"] if resumed and precision == "auto" else precision
    layout = resumed["layout"] if resumed and layout == "auto" else layout
    images, image_size = _images(
        method, data, encoder, image_size, store_size, single_image, single_noise, frame_rate, cache, progress
    )
    side = int(images.rows(np.arange(1)).shape[-1])
    if group is not None:
        images = grouped(images, group)
    images = _with_scenes(images, method, arguments, side, cache, progress)
    training, held_out = hold_out(images)
    batch_size, notes = _fitting_batch(recipe.batch_size, images, len(training))
    channels = statistics(images) if images.holds_signals else None
    computation = choose(precision, layout, encoder, image_size, place, progress)
    chosen = Settings(
        method=method,
        data=display(data),
        encoder=encoder,
        image_size=image_size,
        store_size=side,
        seed=seed,
        device=place.type,
        precision=computation.precision,
        layout=computation.layout,
        threads=threads,
        init=start,
        recipe=recipe,
        arguments=arguments,
        channels=channels,
        single_image=single_image,
        single_noise=single_noise,
        frame_rate=frame_rate,
        group=group,
    )
    fingerprint = fingerprint_of(images)
    if len(held_out) == 0 and (images.clips is not None or group is not None):
        notes.append(why_none(images))
    said = (*images.notes, *assumed_rate(images, frame_rate), *notes)
    facts = {"images": fingerprint, "processes": processes.count()}
    if before is not None:
        resolved = dict(before.get("resolved") or {})
        assert folder is not None
        refuse_changes(before, chosen.as_config(), folder)
        if resolved.get("images") != fingerprint:
            raise InputError(
                f"The {images.things} of {display(data)!r} have changed since the run {str(folder)!r} was started; "
                "use another --out."
            )
        fixed = chosen.with_length(resolved["steps"], resolved["batch_size"])
        return Prepared(fixed, training, held_out, said, chosen.as_config(), resolved)
    fixed = chosen.with_length(1, batch_size)
    # filters made from images take as long to train as any
    rehearsal = Rehearsal(replace(fixed, init=None) if start in WAYS else fixed, training)
    taken = seconds_per_step([rehearsal], limit=_patience(recipe.budget))[0] if recipe.budget else None
    steps = _steps(recipe.steps, recipe.epochs, recipe.budget, taken, rehearsal.rounds)
    compute = rehearsal.compute()
    resolved = {
        **facts,
        "steps": steps,
        "batch_size": batch_size,
        "training_images": len(training),
        "held_out_images": len(held_out),
        "seconds_per_step": taken,
        "gflops_per_step": round(compute.step, 4),
        "trunk_gflops_per_step": round(compute.trunk, 4),
        **({"seconds_to_start": round(to_start, 4)} if (to_start := rehearsal.rounds.before) else {}),
        **_of_rounds(rehearsal, steps),
        **({} if channels is None else dict(zip(("mean", "std"), channels, strict=True))),
    }
    return Prepared(fixed.with_length(steps, batch_size), training, held_out, said, chosen.as_config(), resolved)


def forecast(prepared: Prepared) -> dict[str, Any]:
    """Say what a run will take: minutes, disk and memory, and the settings it will use."""
    settings, resolved = prepared.settings, prepared.resolved
    taken = resolved["seconds_per_step"] or seconds_per_step([Rehearsal(settings, prepared.images)], limit=30.0)[0]
    preparing = resolved.get("rounds", 0) * resolved.get("seconds_per_round", 0.0)
    preparing += resolved.get("seconds_to_start", 0.0)
    network = initial_encoder(replace(settings, init=None), prepared.images)
    weights = sum(p.numel() for p in network.parameters()) * 4 / 1e6
    store = len(prepared.images) * prepared.images.rows(np.arange(1)).nbytes / 1e6
    return {
        "minutes": (taken * resolved["steps"] + preparing) / 60,
        "disk_mb": store + 8 * weights,
        "memory_mb": peak_memory_mb(torch.device(settings.device)),
        "settings": {**prepared.config, "steps": resolved["steps"], "batch_size": resolved["batch_size"]},
    }


def _start_named(init: str | Path | None) -> str | None:
    """Give what training starts from as `Settings` names it: a word of `WAYS`, a file or nothing."""
    if init is None or (isinstance(init, str) and init in WAYS):
        return init
    if not Path(init).is_file():
        raise InputError(
            f"There is no file {str(init)!r} to start from; --init takes a safetensors file, or {', '.join(WAYS[:-1])} "
            f"or {WAYS[-1]}."
        )
    return f"./{init}" if str(init) in WAYS else str(init)


def fingerprint_of(images: ImageStore) -> str:
    """Name the images, what of them belongs together and the scenes beside them, so that changed ones are noticed."""
    groups = "" if images.groups is None else ",".join(map(str, images.groups.tolist()))
    beside = "" if images.beside is None else images.beside.key
    return sha256("".join([*images.hashes, beside, groups]).encode()).hexdigest()[:16]


def _with_scenes(
    images: ImageStore, method: str, arguments: dict[str, Any], side: int, cache: Path | None, progress: Progress
) -> ImageStore:
    """Open what a method reads beside the images: rendered scenes, at the size at which images are stored.

    A folder of them is named by its whole path from here on.
    """
    if "scenes" not in methods.load(method).reads:
        return images
    from selfsup.data.scenes.truth_store import open_truth

    parameter = inspect.signature(methods.load(method)).parameters["scenes"]
    if "scenes" in arguments:
        arguments["scenes"] = display(arguments["scenes"])
    with processes.first_alone():
        scenes = open_truth(arguments.get("scenes", parameter.default), side, cache=cache, progress=progress)
    return replace(images, beside=scenes)


def _images(
    method: str,
    data: Any,
    encoder: str,
    image_size: int | None,
    store_size: int | None,
    crops: int | None,
    noise: float | None,
    frame_rate: float | None,
    cache: Path | None,
    progress: Progress,
) -> tuple[ImageStore, int]:
    """Open the images (or signals); process 0 decodes, the others read what it wrote."""
    clips = "clips" in methods.load(method).reads
    if isinstance(data, ImageStore):
        if image_size is None:
            raise InputError("An image size is needed with an image store; give image_size.")
        if crops is not None or noise is not None:
            raise InputError("An image store is used as it is; give the images themselves to cut crops from them.")
        if clips and data.clips is None:
            raise InputError(f"{method} learns from clips, and the image store holds single images.")
        return data, image_size
    image_size = image_size or size_for(encoder, data, crops)
    data = source_of(encoder, data, image_size, store_size, crops, noise)
    with processes.first_alone():
        images = open_inputs(
            encoder, data, image_size, store_size=store_size, cache=cache, progress=progress, frame_rate=frame_rate,
            clips=clips,
        )  # fmt: skip
    return images, image_size


def _refuse_signals(method: str, encoder: str) -> None:
    """Raise an InputError if the encoder reads signals and the method needs images."""
    if reads_signals(encoder) and "signals" not in methods.load(method).reads:
        able = [name for name in methods.METHODS if "signals" in methods.load(name).reads]
        raise InputError(
            f"{method} needs images, and the encoder {encoder} reads signals; signals can be trained on with"
            f" {', '.join(able)}, images with another encoder, such as small."
        )


def _fitting_batch(wanted: int, images: ImageStore, training: int) -> tuple[int, list[str]]:
    """Keep at least four batches per epoch: the wanted size, or a quarter of the images in steps of 8."""
    usable, what = len(images), images.things
    largest = min(wanted, max(8, usable // 4 // 8 * 8), training)
    largest -= largest % processes.count()
    if largest < wanted:
        return largest, [
            f"The batch is {largest} instead of {wanted} {what}, because there are only {usable} usable {what}."
        ]
    return wanted, []


def _steps(steps: int | None, epochs: float, budget: str | None, taken: float | None, rounds: Rounds) -> int:
    if steps is not None:
        return steps
    if budget is not None and taken is not None:
        return rounds.steps_within(read_seconds(budget), taken)
    return max(1, round(epochs * rounds.per_epoch))


def _of_rounds(rehearsal: Rehearsal, steps: int) -> dict[str, Any]:
    """Say what the rounds of a run cost, of methods that prepare them with the images."""
    cost = rehearsal.round
    if cost.trunk_gflops == 0:
        return {}
    return {
        "rounds": rehearsal.rounds.count(steps),
        "seconds_per_round": round(cost.seconds, 4),
        "gflops_per_round": round(cost.gflops, 4),
        "trunk_gflops_per_round": round(cost.trunk_gflops, 4),
    }


def _patience(budget: str | None) -> float:
    """Seconds that timing may take: a tenth of the budget."""
    return min(60.0, 0.1 * read_seconds(budget)) if budget else 60.0


def device_of(name: str) -> torch.device:
    """Find a device by name; each process of a GPU machine takes its own."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.split(":")[0] not in ("cpu", "cuda"):
        raise InputError(f"There is no device {name!r}; choose auto, cpu or cuda.")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("The device cuda was asked for, but torch finds no GPU here; use --device cpu.")
    if name == "cuda" and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        name = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    device = torch.device(name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def display(data: Any) -> str:
    """Name a source so that a command can use it again."""
    if isinstance(data, ImageStore):
        return data.source
    if isinstance(data, str | Path):
        return str(data) if is_drawn(str(data)) else str(Path(data).expanduser().resolve())
    return str(data) if isinstance(data, SingleImage) else f"<{type(data).__name__}>"
