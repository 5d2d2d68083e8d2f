"""Where advice meets training and evaluation. Loads torch, as only `public_weights` does beside it."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from selfsup import methods as table
from selfsup.advice.plan import Measured
from selfsup.advice.public_weights import Opened, open_weights
from selfsup.advice.references import Reference
from selfsup.advice.supervision import SUPERVISED_BATCH
from selfsup.advice.trial import Bench, Exam, Features, OnLabels
from selfsup.data.batches import clean_batches
from selfsup.data.by_clip import clips_of
from selfsup.data.images import ImageStore
from selfsup.errors import InputError
from selfsup.evaluation.budgets import labels_per_class
from selfsup.evaluation.features import frozen, stage_features
from selfsup.evaluation.metrics import balanced_accuracy
from selfsup.evaluation.probing import fit_probe
from selfsup.evaluation.retrieval import neighbour_sheet
from selfsup.evaluation.saved import SavedProbe
from selfsup.evaluation.supervised import ENOUGH, LRS, choose_lr, train_supervised
from selfsup.networks.codes import FILE as CODES
from selfsup.networks.encoders import Encoder, build_encoder, load_encoder
from selfsup.progress import Progress, silent
from selfsup.report.cost import GENERATED
from selfsup.run import Run
from selfsup.training.build import NORM_IMAGES, with_clean_norms
from selfsup.training.held_out import hold_out
from selfsup.training.prepare import Prepared, prepare
from selfsup.training.pretrain import pretrain
from selfsup.training.rehearsal import Rehearsal, peak_memory_mb, seconds_per_step

MAX_WIDTH = 1024
"""Largest number of features of a stage in a probe."""
TUNING = 4
"""Learning rates are tried with a quarter of the steps, so that three of them cost about one training."""
RESOLVED = ("device", "precision", "layout", "threads")
"""Settings that are found before the first step and then fixed."""


class Workbench(Bench):
    """Trains, computes features and trains on labels, all on one device and with one number of threads.

    Args:
        images: to pretrain on; the test images are not among them.
        labelled: all labelled images, or None.
        exam: their labels, and the test images among them.
        settings: `encoder`, `image_size`, `device`, `precision`, `layout`, `threads`, as `pretrain` takes them, and
            `generator` for the method that draws with one.
        steps: of each method; empty until they are known.
        progress: told what is being done.
        frames: of the labelled clips, where clips have the labels.
    """

    def __init__(
        self,
        images: ImageStore,
        labelled: ImageStore | None,
        exam: Exam | None,
        settings: Mapping[str, Any],
        steps: Mapping[str, int],
        progress: Progress = silent,
        frames: ImageStore | None = None,
    ) -> None:
        self.frames = frames
        self.images, self.labelled, self.exam = images, labelled, exam
        self.settings, self.steps, self.progress = dict(settings), steps, progress

    def pretrain(self, method: str, seed: int, folder: Path) -> None:
        """Train, or resume, until the run folder is complete."""
        pretrain(
            method,
            self.images,
            out=folder,
            seed=seed,
            steps=self.steps[method],
            progress=self.progress,
            **self._settings_of(method),
        )

    def _settings_of(self, method: str) -> dict[str, Any]:
        """Give the settings of a run: to a method that reads images, frames in folders have no rate."""
        own = {name: value for name, value in self.settings.items() if name != "generator"}
        if method == GENERATED:
            own["generator"] = Path(self.settings["generator"])
        return own if not self.images.in_files or "clips" in table.load(method).reads else {**own, "frame_rate": None}

    def cost(self, folder: Path) -> dict[str, Any]:
        """Read what a finished run cost."""
        return Run(folder).summary

    def features(self, folder: Path) -> Features:
        """Give the stages of a run's encoder on all labelled images."""
        return self._stages(load_encoder(folder))

    def untrained(self, seed: int, sees: str = "colour") -> Features:
        """Give the stages of an encoder with random weights and re-estimated statistics on all labelled images."""
        return self._stages(self._random(seed, sees))

    def reference(self, reference: Reference) -> Features:
        """Give the stages of an encoder with public weights, its batch norms re-estimated as all others' are."""
        return self._stages(self._clean(self._public(reference).encoder.to(self._device)))

    def described(self, reference: Reference) -> Reference:
        """Load public weights once, to see that they fit and which architecture they have.

        Raises:
            InputError: if they do not fit.
        """
        opened = self._public(reference)
        return replace(reference, architecture=opened.architecture, same=opened.same)

    def fixed(self, name: str) -> Features:
        """Give the stages of an encoder without parameters on all labelled images."""
        return self._stages(build_encoder(name, self.settings["image_size"]))

    def supervised(
        self, start: Path | None, seed: int, positions: NDArray[np.int64], steps: int, lr: float | None
    ) -> OnLabels:
        """Train a network on labelled images; give the class of each test image, the learning rate and the cost."""
        assert self.labelled is not None
        assert self.exam is not None
        exam, encoder = self.exam, (self._random(seed) if start is None else load_encoder(start)).to(self._device)
        images, owner = self._pictures(positions)
        labels, groups = exam.labels[owner], None if exam.groups is None else exam.groups[owner]
        words: dict[str, Any] = {
            "seed": seed, "batch_size": SUPERVISED_BATCH, "groups": groups, "progress": self.progress,
            "norm_images": images.select(np.arange(min(NORM_IMAGES, len(images)))),
        }  # fmt: skip
        if lr is None and labels_per_class(exam.labels[positions], exam.classes) < ENOUGH:
            lr = sorted(LRS)[len(LRS) // 2]  # many frames of few clips are no more labels
        elif lr is None:
            lr, _ = choose_lr(encoder, images, labels, exam.classes, steps=max(1, steps // TUNING), **words)
        began = perf_counter()
        trained = train_supervised(encoder, images, labels, exam.classes, steps=steps, lr=lr, **words)
        cost = self._cost_on_labels(encoder, steps, min(SUPERVISED_BATCH, len(images)), perf_counter() - began)
        asked, _ = self._pictures(exam.test)
        logits = trained.logits(asked)
        of_each = logits if asked.clips is None else asked.clips.means(logits)
        return OnLabels(of_each.argmax(1).astype(np.int64), lr, cost)

    def keep(self, run: Path, out: Path, stage: str, exam: Exam) -> None:
        """Copy a run's encoder, with a probe of a stage trained on the whole label pool."""
        out.mkdir(parents=True, exist_ok=True)
        for name in ("encoder.safetensors", "encoder.json", "untrained.safetensors", "config.yaml", CODES):
            if (run / name).is_file():
                shutil.copyfile(run / name, out / name)
        features, groups = self.features(run)[stage], None if exam.groups is None else exam.groups[exam.pool]
        probe, _ = fit_probe(features[exam.pool], exam.labels[exam.pool], exam.classes, groups, exam.seed)
        score = balanced_accuracy(exam.truth, probe.predict(features[exam.test]), exam.classes)
        SavedProbe(probe, list(exam.names), stage, MAX_WIDTH, len(exam.pool), score).write(out)

    def neighbours(self, folder: Path, out: Path) -> None:
        """Draw what an encoder takes for alike."""
        neighbour_sheet(load_encoder(folder).to(self._device), self.images, out)

    def measure(self, methods: Sequence[str], with_labels: bool) -> Measured:
        """Time a step of every method, one after the other in turn, and a step of training on labels."""
        prepared: dict[str, Prepared] = {}
        rehearsals: dict[str, Rehearsal] = {}
        refused: dict[str, str] = {}
        for name in methods:
            try:
                prepared[name] = prepare(name, self.images, steps=1, progress=self.progress, **self._settings_of(name))
                rehearsals[name] = Rehearsal(prepared[name].settings, prepared[name].images)
            except InputError as error:  # clips in which nothing moves, say
                refused[name] = str(error).removesuffix(".")
                continue
            # found for the first, and then the same for all
            self.settings |= {part: getattr(prepared[name].settings, part) for part in RESOLVED}
        if not rehearsals:
            raise InputError(f"No method can be tried: {'; '.join(f'{name}: {why}' for name, why in refused.items())}.")
        prepared = {name: prepared[name] for name in rehearsals}
        taken = seconds_per_step(list(rehearsals.values()))
        encoder = self._random(0)
        return Measured(
            seconds_per_step=dict(zip(rehearsals, taken, strict=True)),
            rounds={
                name: one.rounds
                for name, one in rehearsals.items()
                if one.round.trunk_gflops > 0 or one.rounds.before > 0
            },
            batch_size={name: p.settings.recipe.batch_size for name, p in prepared.items()},
            supervised_seconds=self._supervised_seconds() if with_labels else 0.0,
            **{part: self.settings[part] for part in RESOLVED},
            memory_mb=peak_memory_mb(self._device),
            weights_mb=sum(parameter.numel() for parameter in encoder.parameters()) * 4 / 1e6,
            scattering_seconds=self._scattering_seconds() if with_labels else 0.0,
            refused=refused,
        )

    def _scattering_seconds(self, count: int = 64) -> float:
        """Time fixed wavelets, per image."""
        few = self.images.select(np.arange(min(count, len(self.images))))
        encoder = build_encoder("scattering", self.settings["image_size"]).to(self._device)
        (batch,) = clean_batches(few, encoder.image_size, count, self._device)
        times = []
        with frozen(encoder):
            for _ in range(3):
                began = perf_counter()
                encoder(batch).sum().item()  # waits for an accelerator
                times.append(perf_counter() - began)
        return min(times) / len(few)

    def _supervised_seconds(self, steps: int = 12) -> float:
        """Time a step of training on labels: the difference of two lengths, so that the start does not count."""
        few = self.images.select(np.arange(min(len(self.images), 2 * SUPERVISED_BATCH)))
        norms = few.select(np.arange(min(len(few), 8)))
        labels = np.arange(len(few)) % 2
        times = []
        for length in (2, 2, 2 + steps):
            began = perf_counter()
            train_supervised(
                self._random(0), few, labels, 2, steps=length, batch_size=SUPERVISED_BATCH, lr=0.01, norm_images=norms
            )
            times.append(perf_counter() - began)
        return max((times[2] - times[1]) / steps, 1e-6)

    def _cost_on_labels(self, encoder: Encoder, steps: int, batch_size: int, seconds: float) -> dict[str, Any]:
        images = torch.zeros(2, 3, encoder.image_size, encoder.image_size, device=self._device)
        with FlopCounterMode(display=False) as counted:
            encoder.vector(images).sum().backward()
        encoder.zero_grad(set_to_none=True)
        return {
            "seconds": seconds, "steps": steps, "images_per_second": steps * batch_size / seconds,
            "trunk_gflops": counted.get_total_flops() / len(images) * batch_size * steps / 1e9,
        }  # fmt: skip

    def _public(self, reference: Reference) -> Opened:
        settings = self.settings
        return open_weights(Path(reference.file), reference.encoder, settings["encoder"], settings["image_size"])

    def _random(self, seed: int, sees: str = "colour") -> Encoder:
        name, size = self.settings["encoder"], self.settings["image_size"]
        return self._clean(build_encoder(name, size, seed=seed, sees=sees).to(self._device))

    def _clean(self, encoder: Encoder) -> Encoder:
        return with_clean_norms(encoder, hold_out(self.images)[0])

    def _stages(self, encoder: Encoder) -> Features:
        assert self.labelled is not None
        return stage_features(
            encoder.to(self._device), self.labelled if self.frames is None else self.frames, max_width=MAX_WIDTH,
            per_clip=self.frames is not None, progress=self.progress,
        )  # fmt: skip

    def _pictures(self, positions: NDArray[np.int64]) -> tuple[ImageStore, NDArray[np.int64]]:
        """Give the labelled images of some positions, or all frames of such clips, and the position of each."""
        assert self.labelled is not None
        if self.frames is None or self.frames.clips is None:
            return self.labelled.select(positions), positions
        lengths = np.diff(self.frames.clips.starts)[positions]
        return clips_of(self.frames, positions), np.repeat(positions, lengths)

    @property
    def _device(self) -> torch.device:
        name = self.settings["device"]
        return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
