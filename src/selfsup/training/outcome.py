"""What a finished run leaves: pictures, the encoder with clean statistics, and a summary."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selfsup import processes
from selfsup.data.batches import Batches, moments_of
from selfsup.data.images import ImageStore
from selfsup.method import Method
from selfsup.networks.encoders import Encoder, load_encoder, save_encoder
from selfsup.networks.files import write_atomically
from selfsup.networks.filter_sheet import filter_sheet
from selfsup.networks.names import WAYS
from selfsup.run import Run, write_json
from selfsup.training.build import Trainee, with_clean_norms
from selfsup.training.health import findings
from selfsup.training.prepare import Prepared
from selfsup.training.rehearsal import peak_memory_mb


def write_outcome(prepared: Prepared, trainee: Trainee, run: Run, spent: dict[str, float]) -> None:
    """Write pictures, the summary and, first of all, the encoder with clean statistics."""
    settings, resolved, method = prepared.settings, prepared.resolved, trainee.method
    if processes.rank() == 0:
        shown = prepared.held_out if len(prepared.held_out) else prepared.images
        with processes.alone():
            _save(_drawn(method, shown, trainee.device), run.folder / "figures")
        _draw_crops(prepared, run.folder / "figures")
        if settings.init in WAYS:
            _draw_filters(method.encoder, run.folder)
    # parts that were trained together keep the statistics of that
    kept = method.kept() if processes.rank() == 0 else {}
    # every process takes part, because batch norms average over all of them
    with_clean_norms(method.encoder, prepared.images)
    if processes.rank() > 0:
        return
    rows = run.metrics()
    last = [row for row in rows if "kind" not in row][-1]
    check: dict[str, Any] = next((row for row in reversed(rows) if row.get("kind") == "held_out"), last)
    steps = resolved["steps"]
    summary = {
        "method": settings.method,
        "steps": steps,
        "seconds": round(spent["seconds"], 2),
        "seconds_per_step": spent["seconds"] / steps,
        "images_per_second": round(steps * settings.recipe.batch_size / spent["seconds"], 1),
        "images_seen": steps * settings.recipe.batch_size,
        "epochs": steps * settings.recipe.batch_size / resolved["training_images"],
        "gflops": _over_run(resolved, "gflops"),
        "trunk_gflops": _over_run(resolved, "trunk_gflops"),
        "peak_memory_mb": round(peak_memory_mb(trainee.device), 1),
        "waiting": round(spent["waiting"], 4),
        **_of_rounds(resolved, spent),
        "headline": {
            "name": method.headline,
            "value": check["metrics"].get(method.headline),
            "chance": check.get("headline_chance", method.headline_chance),
            "rises": method.headline_rises,
            "held_out_images": len(prepared.held_out),
            "things": prepared.held_out.things,
        },
        "loss": check["loss"],
        "chance": check["chance"],
        "device": _device_name(trainee.device),
        "threads": settings.threads,
        "precision": settings.precision,
        "versions": {"selfsup": _version(), "torch": torch.__version__, "python": sys.version.split()[0]},
    }
    crops = prepared.images.notes if prepared.images.made_by is not None else []
    remarks = [{"level": "note", "text": remark} for remark in (*method.remarks, *crops)]
    summary["health"] = remarks + findings(rows, summary, settings.recipe.peak_lr())
    save_encoder(method.encoder, run.folder)
    for name, content in kept.items():
        write_atomically(run.folder / name, content)
    write_json(run.folder / "summary.json", summary)


def _over_run(resolved: Mapping[str, Any], what: str) -> float:
    """Add up arithmetic over all steps and rounds."""
    of_rounds: float = resolved.get(f"{what}_per_round", 0.0) * resolved.get("rounds", 0)
    return float(resolved[f"{what}_per_step"] * resolved["steps"]) + of_rounds


def _of_rounds(resolved: Mapping[str, Any], spent: Mapping[str, float]) -> dict[str, Any]:
    """Say what part of the time went into preparing rounds, of methods that do so with the images."""
    if "rounds" not in resolved:
        return {}
    seconds = spent["preparing"]
    return {
        "rounds": resolved["rounds"],
        "round_seconds": round(seconds, 2),
        "round_share": round(seconds / max(spent["seconds"], 1e-9), 4),
    }


@torch.no_grad()
def _drawn(method: Method, images: ImageStore, device: torch.device) -> dict[str, Tensor]:
    """Let a method draw 16 images, spread over all: frames that stand together are alike."""
    few = np.linspace(0, len(images) - 1, min(len(images), 16), dtype=np.int64)
    batch = Batches(images, len(few), 1, 0, device, moments=moments_of(method)).batch_of(few, 0, 1.0)
    torch.manual_seed(0)
    return method.eval().figures(batch)


def _save(pictures: Mapping[str, Tensor], folder: Path) -> None:
    from PIL import Image

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        pixels = (picture.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        drawn = Image.fromarray(pixels)
        enlarged = max(1, 900 // drawn.width)
        drawn.resize((drawn.width * enlarged, drawn.height * enlarged), Image.Resampling.NEAREST).save(
            folder / f"{name}.png"
        )


def _draw_filters(encoder: Encoder, folder: Path) -> None:
    """Draw the first layer's filters as they were made from images, and what training made of them."""
    from PIL import Image

    untrained = load_encoder(folder / "untrained.safetensors")
    for when, network in (("made from images", untrained), ("after training", encoder)):
        drawn = filter_sheet(network)
        if drawn is not None:
            pixels = (drawn * 255).round().byte().permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / "figures" / f"first filters {when}.png")


def _draw_crops(prepared: Prepared, folder: Path) -> None:
    """Draw what the images were cut from, if they are crops."""
    single = prepared.images.made_by
    if single is not None:
        from PIL import Image

        from selfsup.data.crop_sheet import crop_sheet

        Image.fromarray(crop_sheet(single)).save(folder / "crops.png")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("selfsup")
    except PackageNotFoundError:
        return "unknown"
