"""Images per second of the real training loop over those of the bare network at the same shapes and precision.

The bare network runs forward, backward and the optimizer's step on tensors that are there already; heads and
decoders count as its work; the generator that changes aetgan's images does not, for it makes a view. Both are timed in
turn, the ratio is the median over the turns.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --methods aetgan --cases small:32 --generator RUN   # a run of bigan at that size
    python benchmarks/throughput.py --lightly ENV/bin/python     # and lightly's SimCLR, installed in ENV
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selfsup import methods
from selfsup.data.images import open_images
from selfsup.training.computation import Computation
from selfsup.training.prepare import Prepared, prepare
from selfsup.training.rehearsal import Rehearsal

CASES = (("small", 32), ("resnet18", 32), ("resnet18", 64))
TARGET, TARGETS = 0.90, {"simclr": 0.85}
STAGES = {"superresolution": {"adversarial_from": 1.0}}
"""Of methods whose steps grow on the way, the first stage: a bare step of all of them together does not exist."""


def main() -> None:
    """Print a table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", help="all that read images alone, by default")
    parser.add_argument("--generator", type=Path, help="run of bigan, for aetgan, which is left out without it")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--cases", nargs="+", default=[f"{name}:{size}" for name, size in CASES])
    parser.add_argument("--lightly", type=Path, help="python of an environment where lightly is installed")
    given = parser.parse_args()
    print(
        f"{'method':10} {'encoder':10} {'px':>4} {'loop img/s':>11} {'bare img/s':>11} {'ratio':>6} {'target':>7}  how"
    )
    for case in given.cases:
        name, size = case.split(":")
        for method in given.methods or reading_images(with_generator=given.generator is not None):
            settings = {"aetgan": {"generator": given.generator}, **STAGES}.get(method, {})
            prepared = ready(method, name, int(size), given.precision, settings)
            loop, bare = real(prepared), bare_steps(prepared)
            for _ in range(3):
                loop(), bare()
            rates = [(timed(loop, given.seconds), timed(bare, given.seconds)) for _ in range(given.turns)]
            batch = prepared.settings.recipe.batch_size
            ratio = statistics.median(one / other for one, other in rates)
            ours = statistics.median(one for one, _ in rates) * batch
            theirs = statistics.median(other for _, other in rates) * batch
            chosen = prepared.settings
            how = f"{chosen.precision} {chosen.layout} batch {batch} threads {chosen.threads}"
            numbers = f"{ours:11.0f} {theirs:11.0f} {ratio:6.2f} {TARGETS.get(method, TARGET):7.2f}"
            print(f"{method:10} {name:10} {size:>4} {numbers}  {how}", flush=True)
            if method == "simclr" and given.lightly:
                compare_with_lightly(
                    given.lightly, name, int(size), loop, batch, given.seconds, prepared.settings.precision
                )


def reading_images(with_generator: bool) -> list[str]:
    """Give the methods that need nothing but images, and aetgan where there is a generator for it."""
    reading = [name for name in methods.METHODS if methods.load(name).reads in ("images", "images and signals")]
    return [name for name in reading if with_generator or name != "aetgan"]


def ready(method: str, encoder: str, size: int, precision: str, settings: dict[str, Any]) -> Prepared:
    """Prepare a run on random images in memory."""
    store = size if size <= 32 else round(size * 8 / 7)
    pixels = np.random.default_rng(0).integers(0, 256, (2048, 3, store, store), dtype=np.uint8)
    images = open_images(pixels, size, store_size=store)
    # a batch that fits the network: the recipe's at 32 px, a quarter of it for resnet18, which is 30 times the work
    return prepare(
        method, images, encoder=encoder, image_size=size, precision=precision, steps=10_000,
        **({} if encoder == "small" else {"batch_size": 32}), **settings,
    )  # fmt: skip


def real(prepared: Prepared) -> Callable[[], object]:
    """Give a step of the real loop: read the batch, make views, losses, backward, step."""
    return Rehearsal(prepared.settings, prepared.images).step


def bare_steps(prepared: Prepared) -> Callable[[], object]:
    """Give a step of the networks alone, on resident tensors of the shapes that a real step gives them."""
    rehearsal = Rehearsal(prepared.settings, prepared.images)
    method, optimizers = rehearsal.trainee.method, rehearsal.trainee.optimizers
    layout = Computation(prepared.settings.precision, prepared.settings.layout).memory_format()
    shapes, heads = seen(rehearsal)
    images = [torch.rand(shape).contiguous(memory_format=layout) for shape in shapes]
    given = [(head, [resident(one) for one in inputs]) for head, inputs in heads]

    def step() -> None:
        with rehearsal.autocast():
            losses = [method.encoder.vector(batch).float().square().mean() for batch in images]
            losses += [first(head(*inputs)).float().square().mean() for head, inputs in given]
        for optimizer in optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        torch.stack(losses).sum().backward()
        for optimizer in optimizers.values():
            optimizer.step()

    return step


def resident(given: torch.Size | nn.Module) -> Tensor | nn.Module:
    """Give a tensor of a shape that asks for its gradient; a network stays as it is."""
    return given if isinstance(given, nn.Module) else torch.rand(given).requires_grad_()


def seen(rehearsal: Rehearsal) -> tuple[list[torch.Size], list[tuple[nn.Module, list[torch.Size | nn.Module]]]]:
    """Take a real step and note the shapes of what the encoder and each head were given, or the encoder itself."""
    method = rehearsal.trainee.method
    images: list[torch.Size] = []
    heads: list[tuple[nn.Module, list[torch.Size | nn.Module]]] = []
    entrance = next(m for m in method.encoder.modules() if isinstance(m, nn.Conv2d))
    # an encoder of two halves shows its first one fewer channels
    hooks = [
        entrance.register_forward_hook(
            lambda _, args, __: images.append(torch.Size([len(args[0]), 3, *args[0].shape[2:]]))
        )
    ]

    def note(module: nn.Module, args: tuple[Tensor | nn.Module, ...], _: object) -> None:
        heads.append((module, [arg if isinstance(arg, nn.Module) else arg.shape for arg in args]))
        if any(arg is method.encoder for arg in args):  # it was run by this head, and will be again
            images.pop()

    hooks += [part.register_forward_hook(note) for name, part in method.named_children() if name != "encoder"]
    batch = next(iter(rehearsal.batches.round_from(0, None)))
    with rehearsal.autocast():
        for _ in method.losses(batch):
            pass
    for hook in hooks:
        hook.remove()
    return images, heads


def first(output: object) -> Tensor:
    """Give the tensor a head gave, or the first of several."""
    return output if isinstance(output, Tensor) else next(iter(output))  # type: ignore[call-overload,no-any-return]


def timed(step: Callable[[], object], seconds: float) -> float:
    """Steps per second over about `seconds`."""
    began, count = perf_counter(), 0
    while perf_counter() - began < seconds or count < 2:
        step()
        count += 1
    return count / (perf_counter() - began)


def compare_with_lightly(
    python: Path, encoder: str, size: int, loop: Callable[[], object], batch: int, seconds: float, precision: str
) -> None:
    """Time lightly's SimCLR (its transform, loader workers, head and loss) in turn with ours, on PNGs of one size."""
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(_pictures(size)):
            image.save(Path(folder, f"{number:05d}.png"))
        script = Path(__file__).with_name("lightly_simclr.py")
        ours = []
        words = [str(python), str(script), folder, "--encoder", encoder, "--size", str(size), "--batch", str(batch)]
        words += ["--bfloat16"] if precision == "bfloat16" else []
        ours.append(timed(loop, 3 * seconds) * batch)
        told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
        ours.append(timed(loop, 3 * seconds) * batch)
    theirs = json.loads(told)["images_per_second"]
    mine = statistics.mean(ours)
    print(f"{'':10} lightly {theirs:.0f} images/s, ours {mine:.0f}: {mine / theirs:.1f} times", flush=True)


def _pictures(size: int) -> Iterator[Any]:
    from PIL import Image

    generator = np.random.default_rng(0)
    for _ in range(1024):
        coarse = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        yield Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    main()
