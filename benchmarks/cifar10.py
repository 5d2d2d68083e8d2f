"""The CIFAR-10 protocol of the papers: pretrain, then classify with the second block frozen.

    python benchmarks/cifar10.py cifar10/ --out runs/cifar10

as published, which needs a GPU (the network in network would take two cores days). Sized for two cores:

    python benchmarks/cifar10.py cifar10-split/all-labels --out runs/cpu --encoder small --budget 3m --seeds 0 1 2
        --classifier-epochs 20

Every arm trains its recipe (`recipes/ARM-cifar10.yaml`), and on its frozen second block the papers' classifiers: `conv`
(a third block of a network in network), `fc` (fully connected; 2 and 3 layers, as AET's and RotNet's releases have it)
and k nearest neighbours. Controls: an untrained trunk (`random`, its statistics re-estimated) and a supervised network
of three blocks (`supervised`).

What is finished is kept in the out folder, so the same command goes on after a cut; pretraining also resumes inside.
Networks are judged after their last epoch; both releases keep the epoch that is best on the test images. Other
differences from the releases: 512 training images are held out while pretraining, colours are normalized with
ImageNet's statistics, batch statistics are re-estimated on clean images, the last short batch of an epoch is dropped,
and `conv` has RotNet's schedule for all arms. The table shows runs as published apart from those that are shorter,
smaller or on fewer images.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

import selfsup
from selfsup.data.images import ImageStore, open_images
from selfsup.draws import reseed
from selfsup.evaluation.features import center_views, device_named, stage_features
from selfsup.evaluation.heads import build_head
from selfsup.evaluation.knn import knn
from selfsup.evaluation.protocols import PROTOCOLS, run_protocol
from selfsup.evaluation.supervised import rows_of_step
from selfsup.flags import read_settings
from selfsup.networks.encoders import Encoder, build_encoder, load_encoder
from selfsup.training.build import with_clean_norms
from selfsup.views import crops

RECIPES = Path(__file__).parents[1] / "recipes"
FULL_IMAGES = 50_000
CLASSIFIERS = {"conv": "rotnet-conv", "fc 2": "aet-fc", "fc 3": "rotnet-fc"}
"""How the papers' classifiers are called here: `fc` with its number of layers."""
PUBLISHED = {
    ("supervised", "-"): 7.20,
    ("random", "conv"): 27.50,
    ("rotation", "fc 3"): 10.94,
    ("rotation", "conv"): 8.84,
    ("aet-affine", "fc 2"): 9.77,
    ("aet-affine", "conv"): 8.05,
    ("aet-project", "fc 2"): 9.41,
    ("aet-project", "conv"): 7.82,
}
"""Error rates in percent: Zhang et al., 2019, table 1. Which of its FC heads AET printed is not said there."""
SUPERVISED_EPOCHS, SUPERVISED_RATES = 200, ((0.3, 0.1), (0.6, 0.02), (0.8, 0.004), (1.0, 0.0008))
NEIGHBOURS = (10, 20)


class Data(NamedTuple):
    """Images with classes; the test images never choose anything."""

    train_folder: Path
    train: ImageStore
    labels: np.ndarray
    test: ImageStore
    answers: np.ndarray
    classes: int


def main() -> None:
    """Run what is not there yet and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="holds train/CLASS/ and test/CLASS/")
    parser.add_argument("--out", type=Path, required=True, help="keeps all runs; give it again to go on")
    arms = ["random", "supervised", "rotation", "aet-affine", "aet-project"]
    parser.add_argument("--methods", nargs="+", default=arms, help="arms, each a recipe's name without -cifar10")
    parser.add_argument("--encoder", default="nin")
    parser.add_argument("--budget", help="length of each pretraining as a time; default: the recipe's epochs")
    parser.add_argument("--epochs", type=float, help="length of each pretraining in epochs")
    parser.add_argument("--classifier-epochs", type=float, help="default: those of the papers")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    data = read(given.data)
    for seed in given.seeds:
        for arm in given.methods:
            for part, run in parts(arm, seed, data, given).items():
                file = given.out / "results" / f"{given.encoder}-{arm}-{part.replace(' ', '')}-seed{seed}.json"
                asked = {"epochs": given.epochs, "budget": given.budget, "classifier_epochs": given.classifier_epochs}
                if file.is_file() and json.loads(file.read_text())["asked"] != asked:
                    parser.error(f"{file} was made with other lengths; give another --out")
                if not file.is_file():
                    result = {"arm": arm, "classifier": part, "seed": seed, "encoder": given.encoder, "asked": asked}
                    result |= run() | {"images": len(data.train), "device": str(device_named(given.device))}
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(json.dumps(result, indent=1))
                    print(f"{arm} {part} seed {seed}: error {result['error']:.2f} %", flush=True)
    table(given.out)


def read(folder: Path) -> Data:
    """Decode both folders at 32 pixels; a class is the name of an image's folder."""
    train, test = (open_images(folder / part, 32, store_size=32) for part in ("train", "test"))
    names, others = (sorted({name.split("/")[0] for name in store.names}) for store in (train, test))
    if names != others:
        raise SystemExit(f"{folder} has other classes for training ({', '.join(names)}) than for the test.")
    labels, answers = (np.array([names.index(n.split("/")[0]) for n in store.names]) for store in (train, test))
    return Data(folder / "train", train, labels, test, answers, len(names))


def parts(arm: str, seed: int, data: Data, given: argparse.Namespace) -> dict[str, Callable[[], dict[str, Any]]]:
    """Give the results of an arm that can be asked for, each by itself."""
    length, device = given.classifier_epochs, device_named(given.device)
    if arm == "supervised":
        return {"-": lambda: supervised(data, given.encoder, length, seed, device)}

    def trunk() -> tuple[Encoder, dict[str, Any]]:
        if arm == "random":
            encoder = build_encoder(given.encoder, 32, seed=seed).to(device)
            return with_clean_norms(encoder, data.train).eval(), {"pretraining_epochs": 0.0}
        settings = read_settings(RECIPES / f"{arm}-cifar10.yaml")
        method = settings.pop("method")
        settings |= {"encoder": given.encoder}
        for name in ("budget", "epochs"):
            if getattr(given, name) is not None:
                settings = {k: v for k, v in settings.items() if k not in ("epochs", "steps", "budget")}
                settings[name] = getattr(given, name)
        folder = given.out / "runs" / f"{given.encoder}-{arm}-seed{seed}"
        run = selfsup.pretrain(
            method, data.train_folder, out=folder, seed=seed, store_size=32, device=given.device, **settings
        )
        summary = run.summary
        return load_encoder(run.folder).to(device).eval(), {
            "pretraining_epochs": summary["epochs"],
            "pretraining_seconds": summary["seconds"],
            "whole_recipe": given.budget is None and given.epochs is None,
        }

    def classify(protocol: str) -> dict[str, Any]:
        encoder, facts = trunk()
        began = perf_counter()
        outcome = run_protocol(
            protocol, encoder, data.train, data.labels, data.test, data.classes, epochs=length, seed=seed
        )
        (logits,) = outcome.logits.values()
        return facts | {
            "error": 100 * float((logits.argmax(1) != data.answers).mean()),
            "epochs": outcome.settings["epochs"],
            "as_published": outcome.settings["as_published"],
            "seconds": perf_counter() - began,
        }

    def neighbours(k: int) -> dict[str, Any]:
        encoder, facts = trunk()
        began = perf_counter()
        stage = encoder.stage_names[1]
        bank, queries = (  # one value per channel: the mean over space
            stage_features(encoder, store, max_width=1, stages=[stage])[stage] for store in (data.train, data.test)
        )
        error = 100 * float((knn(bank, data.labels, queries, data.classes, k) != data.answers).mean())
        return facts | {"error": error, "epochs": 0, "as_published": True, "seconds": perf_counter() - began}

    found: dict[str, Callable[[], dict[str, Any]]] = {
        name: lambda protocol=protocol: classify(protocol)  # type: ignore[misc]
        for name, protocol in CLASSIFIERS.items()
    }
    return found | {f"kNN {k}": lambda k=k: neighbours(k) for k in NEIGHBOURS}  # type: ignore[misc]


def supervised(data: Data, name: str, epochs: float | None, seed: int, device: torch.device) -> dict[str, Any]:
    """Train the first two stages and a third block on all labels, with the rates of RotNet's code."""
    length, began = SUPERVISED_EPOCHS if epochs is None else epochs, perf_counter()
    encoder = build_encoder(name, 32, seed=seed).to(device)
    stage = encoder.stage_names[1]
    how = PROTOCOLS["rotnet-conv"]
    reseed(seed, 0x5C)
    example = encoder.stages(torch.zeros(2, 3, 32, 32, device=device))[stage]
    head = build_head(how.head, how.norm, how.depth, how.initial, example, data.classes, False).to(device)
    # the stages behind the second get no gradient and stay as they are
    optimizer = torch.optim.SGD(
        [*encoder.parameters(), *head.parameters()], 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    labels = torch.from_numpy(data.labels).to(device)
    steps = round(length * (len(data.train) // 128))
    for step in range(steps):
        reseed(seed, step)
        rows = rows_of_step(len(data.train), 128, step, seed)
        views = crops.random_crop(center_views(data.train.rows(rows), None, device), 32)
        optimizer.param_groups[0]["lr"] = next(rate for until, rate in SUPERVISED_RATES if step / steps < until)
        logits = head(encoder.stages(views)[stage])
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[torch.from_numpy(rows).to(device)]).backward()
        optimizer.step()
    encoder.eval(), head.eval()
    wrong = 0
    with torch.no_grad():
        for first in range(0, len(data.test), 256):
            numbers = np.arange(first, min(first + 256, len(data.test)))
            logits = head(encoder.stages(center_views(data.test.rows(numbers), 32, device))[stage])
            wrong += int((logits.argmax(1).cpu().numpy() != data.answers[numbers]).sum())
    error, taken = 100 * wrong / len(data.test), perf_counter() - began
    return {"error": error, "epochs": length, "as_published": epochs is None, "seconds": taken}


def table(out: Path) -> None:
    """Print what the out folder holds, runs as published apart from others."""
    results = [json.loads(file.read_text()) for file in sorted((out / "results").glob("*.json"))]
    full = [r for r in results if as_published(r)]
    shorter = [r for r in results if not as_published(r)]
    for title, chosen in (("As published", full), ("Sized down: not comparable with published numbers", shorter)):
        if not chosen:
            continue
        beside = chosen is full
        heads = ["arm", "classifier", *(["published error, %"] if beside else []), "our error, %", "seeds"]
        heads += ["pretraining epochs", "classifier epochs", "encoder", "images", "device", "minutes per seed"]
        print(f"\n{title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
        for key in dict.fromkeys((r["arm"], r["classifier"], r["encoder"], r["images"]) for r in chosen):
            row = [r for r in chosen if (r["arm"], r["classifier"], r["encoder"], r["images"]) == key]
            errors = [r["error"] for r in row]
            spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
            printed = PUBLISHED.get(key[:2])
            minutes = statistics.median(r["seconds"] + r.get("pretraining_seconds", 0.0) for r in row) / 60
            cells = [*key[:2], *(["-" if printed is None else f"{printed:.2f}"] if beside else [])]
            cells += [f"{statistics.mean(errors):.2f}{spread}", ", ".join(str(r["seed"]) for r in row)]
            cells += [f"{row[0].get('pretraining_epochs', 0):.4g}", f"{row[0]['epochs']:g}", key[2], f"{key[3]:,}"]
            print(f"| {' | '.join([*cells, row[0]['device'], f'{minutes:.1f}'])} |")


def as_published(result: dict[str, Any]) -> bool:
    """Say whether nothing was shortened: the papers' network, all images, whole lengths."""
    whole = result["as_published"] and result.get("whole_recipe", True)
    return bool(whole and result["encoder"] == "nin" and result["images"] == FULL_IMAGES)


if __name__ == "__main__":
    main()
