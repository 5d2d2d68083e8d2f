"""What a finished run leaves: pictures, the encoder with clean statistics, and a summary."""

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selfsup import processes
from selfsup.data.batches import as_floats
from selfsup.data.images import ImageStore
from selfsup.method import Batch, Method
from selfsup.networks.encoders import save_encoder
from selfsup.networks.files import write_atomically
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
        _draw(method, shown, run.folder / "figures", trainee.device)
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
        "gflops": resolved["gflops_per_step"] * steps,
        "trunk_gflops": resolved["trunk_gflops_per_step"] * steps,
        "peak_memory_mb": round(peak_memory_mb(trainee.device), 1),
        "waiting": round(spent["waiting"], 4),
        "headline": {
            "name": method.headline,
            "value": check["metrics"].get(method.headline),
            "chance": method.headline_chance,
            "rises": method.headline_rises,
            "held_out_images": len(prepared.held_out),
        },
        "loss": check["loss"],
        "chance": check["chance"],
        "device": _device_name(trainee.device),
        "threads": settings.threads,
        "precision": settings.precision,
        "versions": {"selfsup": _version(), "torch": torch.__version__, "python": sys.version.split()[0]},
    }
    summary["health"] = findings(rows, summary, settings.recipe.peak_lr())
    save_encoder(method.encoder, run.folder)
    for name, content in method.kept().items():
        write_atomically(run.folder / name, content)
    write_json(run.folder / "summary.json", summary)


@torch.no_grad()
def _draw(method: Method, images: ImageStore, folder: Path, device: torch.device) -> None:
    from PIL import Image

    few = images.rows(np.arange(min(len(images), 16)))
    batch = Batch(as_floats(torch.from_numpy(few).to(device)), torch.arange(len(few), device=device), 0, 1.0)
    torch.manual_seed(0)
    method.eval()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, picture in method.figures(batch).items():
        pixels = (picture.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        drawn = Image.fromarray(pixels)
        enlarged = max(1, 900 // drawn.width)
        drawn.resize((drawn.width * enlarged, drawn.height * enlarged), Image.Resampling.NEAREST).save(
            folder / f"{name}.png"
        )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("selfsup")
    except PackageNotFoundError:
        return "unknown"
