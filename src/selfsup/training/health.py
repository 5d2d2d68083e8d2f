"""Signs of health that need no labels: held-out task metrics, spread of the features, warnings in words."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from selfsup import processes
from selfsup.data.batches import Batches, clean_batches, moments_of
from selfsup.data.images import ImageStore
from selfsup.draws import reseed
from selfsup.method import Method, Objective
from selfsup.training.clusters import cluster_findings
from selfsup.training.game import game_findings, is_game
from selfsup.training.loop import as_list, total_chance

FEATURE_IMAGES = 256
"""Images whose features are looked at while training; rank cannot exceed it."""
COLLAPSED = 0.01
"""Spread below which features are called equal: bfloat16 knows no differences below 1/256. A common mean as such is no
harm to the linear probe, which subtracts it: behind a ReLU it may be 20 times what differs between images."""


def feature_spread(features: Float[Tensor, "B D"]) -> dict[str, float]:
    """Say how much features differ from image to image.

    Returns: `feature_std`, the mean standard deviation of L2-normalized features times sqrt(D) (0: all equal,
    1: spread evenly over the sphere), `rank`, the exponential of the entropy of the singular values of what differs
    from the mean (1 to min(B - 1, D)), and `width`, D.

    Source: Garrido et al., 2022, https://arxiv.org/abs/2210.02885, whose RankMe leaves the mean in: a large one is
    then the only direction that counts.
    """
    features = features.double()
    std = F.normalize(features).std(0).mean() * math.sqrt(features.shape[1])
    singular = torch.linalg.svdvals(features - features.mean(0))
    share = singular / singular.sum().clamp_min(1e-12) + 1e-7
    rank = torch.exp(-(share * share.log()).sum())
    return {"feature_std": std.item(), "rank": rank.item(), "width": features.shape[1]}


@torch.no_grad()
def examine(method: Method, held_out: ImageStore, batch_size: int, device: torch.device) -> dict[str, Any]:
    """Measure the task on held-out images, in eval mode, with the same draws every time."""
    if len(held_out) == 0:
        return {}
    was_training = method.training
    method.eval()
    rows: list[dict[str, Tensor]] = []
    chance = None
    size = min(batch_size, len(held_out) // processes.count() * processes.count())
    batches = Batches(held_out, size, len(held_out) // size, 0, device, moments=moments_of(method))
    for batch in batches.round_from(0, torch.arange(len(held_out))):
        reseed(0xE7A1, batch.step)
        objectives = [objective for yielded in method.losses(batch) for objective in as_list(yielded)]
        rows.append(_merged(objectives))
        chance = total_chance(objectives)
    features = torch.cat(
        [method.encoder.vector(x) for x in clean_batches(_few(held_out), method.encoder.image_size, 64, device)]
    )
    method.train(was_training)
    mean = {name: processes.average(torch.stack([row[name] for row in rows]).mean()).item() for name in rows[0]}
    # some methods know a blind guess from their batches or clusters alone: it is kept with what it is compared with
    blind = method.headline_chance
    return {
        "loss": mean.pop("loss"), "chance": chance, "headline_chance": blind, "metrics": mean,
        **feature_spread(features),
    }  # fmt: skip


def findings(rows: list[dict[str, Any]], summary: Mapping[str, Any], peak_lr: float) -> list[dict[str, str]]:
    """Say in words what the logged rows show: learned or not, collapsed, diverging, idle."""
    train = [row for row in rows if "kind" not in row]
    checks = [row for row in rows if row.get("kind") == "held_out"]
    found: list[dict[str, str]] = []

    def warn(text: str) -> None:
        found.append({"level": "warning", "text": text})

    if peak_lr == 0:
        warn("The learning rate is 0: nothing was trained.")
    headline = summary.get("headline") or {}
    value, chance = headline.get("value"), headline.get("chance")
    if value is not None and chance is not None and headline.get("held_out_images", 0) > 0:
        gain = (value - chance) * (1 if headline.get("rises", True) else -1)
        noise = 2 * math.sqrt(max(chance * (1 - chance), 0) / headline["held_out_images"]) if 0 < chance < 1 else 0.0
        if gain <= noise:
            warn(
                f"The task was not learned: {headline['name']} on held-out {headline.get('things', 'images')} is "
                f"{value:.3g}, a blind guess has {chance:.3g}."
            )
    if checks and "feature_std" in checks[-1]:
        last = checks[-1]
        if last["feature_std"] < COLLAPSED:
            warn(
                "The features have collapsed: they hardly differ between images "
                f"(spread {last['feature_std']:.4f} of 1)."
            )
        elif last["rank"] < min(5.0, 0.05 * min(last["width"], FEATURE_IMAGES)):
            warn(f"The features use few directions: effective rank {last['rank']:.1f} of {last['width']}.")
    found += game_findings(train) + cluster_findings(train)
    # in a game the losses of the two sides rise against each other, and their sum says nothing
    if len(train) >= 20 and not is_game(train):
        third = len(train) // 4
        before = sum(row["loss"] for row in train[:third]) / third
        after = sum(row["loss"] for row in train[-third:]) / third
        if after > 1.2 * before + 1e-3:
            warn(f"The loss rose from {before:.3g} to {after:.3g}: the learning rate may be too high.")
    if summary.get("waiting", 0) > 0.2:
        warn(f"Training waited for data {summary['waiting']:.0%} of the time.")
    return found or [{"level": "ok", "text": "Nothing unusual was seen."}]


def _merged(objectives: list[Objective]) -> dict[str, Tensor]:
    merged = {"loss": torch.stack([objective.loss.float() for objective in objectives]).sum()}
    for objective in objectives:
        merged.update({name: value.float() for name, value in objective.metrics.items()})
    return merged


def _few(images: ImageStore) -> ImageStore:
    return images.select(range(min(len(images), FEATURE_IMAGES)))
