"""Train an encoder with a pretext task, from a folder of images to a run folder."""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from selfsup import methods, processes
from selfsup.data.batches import Batches, moments_of
from selfsup.data.doctor import worth_saying
from selfsup.data.images import ImageStore
from selfsup.draws import reseed
from selfsup.errors import InputError, Interrupted, TrainingFailed
from selfsup.method import Batch, Method
from selfsup.networks.encoders import write_weights
from selfsup.progress import Progress, silent
from selfsup.recipe import seconds as read_seconds
from selfsup.run import MetricsLog, Run, write_skipped, write_yaml
from selfsup.training import checkpoint
from selfsup.training.build import Trainee, build, embedder, untrained_encoder, with_clean_norms
from selfsup.training.health import examine
from selfsup.training.journal import Stopwatch, row_of
from selfsup.training.loop import NonFiniteLoss, Step, autocast_of, train
from selfsup.training.outcome import write_outcome
from selfsup.training.prepare import Prepared, device_of, prepare
from selfsup.training.settings import Settings
from selfsup.training.tracking import Journal, check_trackers

TrackerName = Literal["tensorboard", "wandb", "mlflow"]
LOOKS = 10
"""How often the held-out images are looked at during a run."""


def pretrain(
    method: str,
    data: Any,
    *,
    out: Path | None = None,
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
    checkpoint_every: str = "60s",
    track: Sequence[TrackerName] = (),
    progress: Progress = silent,
    **settings: Any,
) -> Run:
    """Train an encoder on unlabelled images with one pretext task; the same call resumes an interrupted run.

    Args:
        method: name of a pretext task, as `selfsup methods` lists them.
        data: folder of images or of videos, `.npy` file, array [N, 3, S, S], dataset object, or scenes that are drawn:
            `scenes`, `plain-scenes` (no room around the things), `moving-scenes` (clips), `scenes:COUNT` or
            `scenes:COUNT:SEED`; signals: `.npy` file or
            array [N, C, L]; with `single_image` one image file or a folder of a few.
        out: run folder; by default `runs/METHOD-DATA`.
        encoder: `small`, `alexnet`, `nin` or the name of a timm model; `small1d` for signals.
        image_size: side in pixels of what the encoder sees; by default what the images offer, 32 to 96. Samples of
            signals; by default all.
        store_size: side in pixels at which images are decoded; by default 8/7 of the image size, never above
            the source.
        seed: decides the initial weights, the order of the images and every random view.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto` (what is faster here), `float32` or `bfloat16` (autocast).
        layout: `auto`, `contiguous` or `channels_last`: how images lie in memory.
        threads: CPU threads; by default as many as torch finds. Part of what makes runs equal to the bit.
        init: what the encoder starts from: a safetensors file of weights; or `random`, `pca` or `kmeans`, filters made
            from training images (a file of such a name: `./pca`). None: random weights.
        cache: folder of decoded images; by default the user's cache.
        single_image: number of crops of the image (or of the few) to train on in place of the images themselves:
            boxes of windows of half the short side, turned and sheared, half of them in other colours.
        single_noise: deviation of the noise in these crops, where white is 1; by default none.
        frame_rate: frames that are taken of each second of videos; by default 10, and never more than they have.
        group: regular expression with one group; clips, or images, that share it (a film, a patient) are held out
            together, and such clips are no negatives of each other.
        checkpoint_every: time between checkpoints, such as `60s`.
        track: `tensorboard`, `wandb` or `mlflow`, or several: shown there too, without a network unless the
            environment names a server; the run folder stays the record.
        progress: told what is being done.
        **settings: of the recipe (`epochs`, `budget`, `lr`, ...) and of the method's constructor.

    Returns: the finished run.

    Raises:
        InputError: for settings or images that cannot be used.
        Interrupted: after Ctrl-C, with a checkpoint written.
        TrainingFailed: when the loss is no longer a finite number.
    """
    methods.entry(method)
    pause = read_seconds(checkpoint_every)
    trackers = check_trackers(track)
    folder = Path(out) if out is not None else default_folder(method, data)
    processes.start(device_of(device))
    try:
        prepared = prepare(
            method,
            data,
            folder=folder,
            encoder=encoder,
            image_size=image_size,
            store_size=store_size,
            seed=seed,
            device=device,
            precision=precision,
            layout=layout,
            threads=threads,
            init=init,
            cache=cache,
            single_image=single_image,
            single_noise=single_noise,
            frame_rate=frame_rate,
            group=group,
            progress=progress,
            **settings,
        )
        run = Run(folder)
        if not run.is_finished:
            _train(prepared, run, pause, trackers, progress)
        processes.barrier()
        return run
    finally:
        processes.stop()


def default_folder(method: str, data: Any) -> Path:
    """Name the run after its method and data."""
    given = Path(str(data)).stem if isinstance(data, str | Path) else "array"
    return Path("runs") / f"{method}-{given.replace(':', '-') or 'data'}"


def _train(prepared: Prepared, run: Run, pause: float, trackers: Sequence[str], progress: Progress) -> None:
    settings, images = prepared.settings, prepared.images
    main = processes.rank() == 0
    for note in prepared.notes:
        progress.note(note)
    if main and not (run.folder / "config.yaml").is_file():
        for finding in worth_saying(images, duplicates=False):  # looking for these takes long, and advise does it
            progress.note(finding)
        write_yaml(run.folder / "config.yaml", {**prepared.config, "resolved": prepared.resolved})
        write_skipped(run.folder / "skipped.csv", images.skipped)
    trainee = build(settings, images)
    prepared = _watched(prepared, trainee.method, progress)
    for remark in trainee.method.remarks:
        progress.note(remark)
    if main and not (run.folder / "untrained.safetensors").is_file():
        write_weights(
            with_clean_norms(untrained_encoder(trainee, settings, images), images), run.folder / "untrained.safetensors"
        )
    position = _resume(run.folder / "checkpoint", trainee)
    try:
        with _journal(prepared, position, run.folder, trackers, progress) if main else nullcontext() as log:
            seconds = _steps_until_done(prepared, trainee, position, run.folder, log, pause, progress)
    except NonFiniteLoss as error:
        kept = checkpoint.newest(run.folder / "checkpoint")
        where = f" The last good checkpoint, of step {checkpoint.step_of(kept)}, is kept." if kept else ""
        raise TrainingFailed(
            f"Training stopped: {error}. Likely causes: a learning rate that is too high (lr {settings.recipe.lr:g}), "
            f"no warm-up, or images with odd values.{where}"
        ) from error
    write_outcome(prepared, trainee, run, seconds)


def _watched(prepared: Prepared, method: Method, progress: Progress) -> Prepared:
    """Do without held-out clips in which a method finds nothing to ask for."""
    moments, held_out = moments_of(method), prepared.held_out
    if moments is None or held_out.clips is None or len(held_out) == 0:
        return prepared
    try:
        moments(held_out.clips, np.arange(len(held_out)), np.random.default_rng(0))
    except InputError as error:
        progress.note(f"The task is not watched on held-out clips: {error}")
        return replace(prepared, held_out=held_out.select(np.arange(0)))
    return prepared


@dataclass
class _Position:
    step: int
    order: Tensor | None


def _resume(folder: Path, trainee: Trainee) -> _Position:
    file = checkpoint.newest(folder) if folder.is_dir() else None
    if file is None:
        return _Position(0, None)
    return _Position(checkpoint.step_of(file), checkpoint.load(file, trainee.method, trainee.optimizers))


def _journal(
    prepared: Prepared, position: _Position, folder: Path, trackers: Sequence[str], progress: Progress
) -> Journal:
    log = MetricsLog(folder / "metrics.jsonl", position.step)
    return Journal(log, trackers, folder, prepared.config, position.step, progress)


def _steps_until_done(
    prepared: Prepared,
    trainee: Trainee,
    position: _Position,
    folder: Path,
    log: Journal | None,
    pause: float,
    progress: Progress,
) -> dict[str, float]:
    settings, images, held_out = prepared.settings, prepared.images, prepared.held_out
    recipe, total = settings.recipe, prepared.resolved["steps"]
    method = trainee.method
    batches = Batches(
        images, recipe.batch_size, total, settings.seed, trainee.device, method.most_rounds, moments_of(method)
    )
    spent = Stopwatch(Run(folder).metrics())

    def keep(step: int) -> None:
        checkpoint.save(folder / "checkpoint", step, trainee.method, trainee.optimizers, position.order)

    stream = _rounds(batches, trainee, images, settings, position, spent)
    window: list[Step] = []
    every = max(1, total // 200)
    looks = {round(total * (k + 1) / LOOKS) for k in range(LOOKS)}
    saved = perf_counter()
    with _interrupts() as asked:
        steps = train(
            trainee.method,
            stream,
            trainee.optimizers,
            recipe,
            settings.seed,
            autocast_of(trainee.device, settings.precision),
        )
        if position.step == 0 and log is not None:
            keep(0)
        for step in steps:
            done = step.number + 1
            window.append(step)
            if done % every == 0 or done == total:
                row = row_of(window, done, total, spent, batches, settings)
                if log is not None:
                    log.write(row)
                progress.step(settings.method, done, total, row)
                window = []
            if done in looks:
                found = examine(trainee.method, held_out, recipe.batch_size, trainee.device)
                if log is not None and found:
                    log.write({"step": done, "kind": "held_out", **found})
            stop = processes.any_of(asked.is_set(), trainee.device) if processes.count() > 1 else asked.is_set()
            if log is not None and (stop or done == total or perf_counter() - saved > pause):
                keep(done)
                saved = perf_counter()
            if stop and done < total:
                raise Interrupted(f"Interrupted at step {done} of {total}; the same command resumes it.")
    return {
        "seconds": spent.total(),
        "preparing": spent.preparing,
        "waiting": batches.waited / max(spent.here(), 1e-9),
    }


def _rounds(
    batches: Batches,
    trainee: Trainee,
    images: ImageStore,
    settings: Settings,
    position: _Position,
    spent: Stopwatch,
) -> Iterator[Batch]:
    """Go through the rounds from where the run stands; the method prepares each before its first batch."""
    step = position.step
    features = embedder(images, settings.image_size, trainee.device, settings.precision)

    def embed(module: nn.Module) -> Tensor:
        found = features(module)
        if not bool(torch.isfinite(found).all()):
            raise NonFiniteLoss(f"features of the training images are not finite numbers at step {step}")
        return found

    while step < batches.steps:
        if step == batches.round_of(step)[0]:
            reseed(settings.seed, step, 0xE90C)
            with spent.prepares():
                position.order = trainee.method.start_epoch(embed)
                if position.order is not None:
                    position.order = position.order.cpu()
        for batch in batches.round_from(step, position.order):
            yield batch
            step += 1


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C (or a polite kill) into a flag read after each step; the second stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(_number: int, _frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
