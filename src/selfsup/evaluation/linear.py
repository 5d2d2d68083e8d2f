"""Multinomial logistic regression on frozen features by L-BFGS: the linear probe.

Minimizes mean cross-entropy + lambda/2 * ||W||² (the bias is free) on features standardized with the
statistics of the labelled images. The problem is solved in the principal axes of those images, where the
curvature is close to diagonal and known; a rotation changes neither the penalty nor the minimum, but a few
dozen labels become a problem of a few dozen dimensions. All folds of a cross-validation are solved as one
batch: one matrix product serves them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from selfsup.evaluation.metrics import balanced_accuracy

LAMBDAS = tuple(10.0 ** (-half / 2) for half in range(11))
"""From 1 down to 1e-5 in half-decades; each starts from the solution of the one before."""
FIXED_LAMBDA = 0.1
"""Used where there are too few labels to choose.

From 1e-3 to 10 the accuracy at 1 to 3 labels per class differs by less than 0.6 points (CIFAR-10, pixels and four
stages of an untrained network, ten draws).
"""
GRID_TOLERANCE, REFIT_TOLERANCE = 1e-3, 1e-4
"""Norm of the gradient at which the grid and the last fit stop."""
DROP = 0.01
"""The path ends once validation falls this far below its best."""
LARGEST_ROTATION = 2048
"""Above it, finding the principal axes costs more than it saves."""


@dataclass(frozen=True)
class LinearProbe:
    """A trained probe; its weights act on standardized features."""

    weight: Float[np.ndarray, "K D"]
    bias: Float[np.ndarray, " K"]
    mean: Float[np.ndarray, " D"]
    std: Float[np.ndarray, " D"]
    lambda_: float

    def logits(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Score features as they come from the encoder."""
        weight, bias = self.folded()
        return F.linear(_tensor(features), torch.from_numpy(weight), torch.from_numpy(bias)).numpy()

    def folded(self) -> tuple[Float[np.ndarray, "K D"], Float[np.ndarray, " K"]]:
        """Give weight and bias for features as they come, with the standardization folded in."""
        weight = self.weight / self.std
        return weight, self.bias - weight @ self.mean

    def predict(self, features: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        """Give the most likely class of each row."""
        best: Int[np.ndarray, " N"] = self.logits(features).argmax(1)
        return best

    def probabilities(self, features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N K"]:
        """Give the probability of every class."""
        return torch.from_numpy(self.logits(features)).softmax(1).numpy()


class Choice(NamedTuple):
    """A lambda chosen on held-out folds of the labelled images."""

    lambda_: float
    score: float
    """Balanced accuracy on the held-out images at the chosen lambda."""
    path: list[tuple[float, float]]
    """Every (lambda, score) tried."""
    start: Float[Tensor, "K R"]
    """Mean of the folds' solutions: where the refit starts."""


@dataclass(frozen=True)
class Labelled:
    """Labelled features, standardized and turned into their principal axes once for all folds, lambdas and fits."""

    rows: Float[Tensor, "N R"]
    """Last column: ones, for the bias."""
    labels: Int[Tensor, " N"]
    classes: int
    curvature: Float[Tensor, " R"]
    """Mean square of each column."""
    axes: Float[Tensor, "D R-1"] | None
    """None where the rows were not turned."""
    mean: Float[Tensor, " D"]
    std: Float[Tensor, " D"]
    free: Float[Tensor, " R"] = field(init=False)
    """1 for penalized columns, 0 for the bias."""

    def __post_init__(self) -> None:
        free = torch.ones_like(self.curvature)
        free[-1] = 0
        object.__setattr__(self, "free", free)


def prepare(features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], classes: int) -> Labelled:
    """Standardize labelled features by their own statistics and turn them into their principal axes.

    Raises:
        ValueError: if a feature is not finite: the encoder has diverged.
    """
    x = _tensor(features)
    if not bool(torch.isfinite(x).all()):
        raise ValueError("features must be finite to be probed, got NaN or infinity; the encoder has diverged.")
    mean, std = x.mean(0), x.std(0, correction=0)
    # a feature that is constant on the labelled images says nothing; the floor keeps it from exploding elsewhere
    floor = 1e-3 * std.square().mean().sqrt()
    std = torch.where(std > floor, std, torch.where(floor > 0, floor, torch.ones_like(floor)))
    rows, axes, curvature = _turn((x - mean) / std)
    one = rows.new_ones(1)
    rows = torch.cat([rows, one.expand(len(rows), 1)], 1)
    targets = torch.from_numpy(np.ascontiguousarray(labels, dtype=np.int64))
    return Labelled(rows, targets, classes, torch.cat([curvature, one]), axes, mean, std)


def fit(
    features: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], classes: int, lambda_: float = FIXED_LAMBDA
) -> LinearProbe:
    """Fit a probe on labelled features (float32 [N, D], class numbers [N]) at a given lambda."""
    return fit_prepared(prepare(features, labels, classes), lambda_)


def fit_prepared(data: Labelled, lambda_: float, start: Float[Tensor, "K R"] | None = None) -> LinearProbe:
    """Fit a probe on prepared features, from zero or from a given solution."""
    count, width = data.rows.shape
    weights = data.rows.new_full((1, count), 1 / count)
    first = data.rows.new_zeros(1, data.classes, width) if start is None else start[None]
    solution = minimize(data, weights, lambda_, first, REFIT_TOLERANCE)[0]
    weight, bias = solution[:, :-1], solution[:, -1]
    if data.axes is not None:
        weight = F.linear(weight, data.axes)
    return LinearProbe(
        weight.numpy(), (bias - bias.mean()).numpy(), data.mean.numpy(), data.std.numpy(), float(lambda_)
    )


def choose_lambda(
    data: Labelled, folds: Int[np.ndarray, " N"], lambdas: Sequence[float] = LAMBDAS, held_out: int | None = None
) -> Choice:
    """Choose lambda by the balanced accuracy on held-out folds; the larger of equals wins.

    Args:
        data: prepared features of the labelled training part; nothing else is looked at.
        folds: fold number of each row.
        lambdas: from large to small.
        held_out: how many of the folds are held out in turn, by default all.
    """
    turns = int(folds.max()) + 1 if held_out is None else held_out
    fold = torch.from_numpy(folds.astype(np.int64))
    trains = (fold[None] != torch.arange(turns)[:, None]).to(data.rows.dtype)  # [P, N]
    weights = trains / trains.sum(1, keepdim=True)
    asked = fold < turns
    truth = data.labels[asked].numpy()
    solution = data.rows.new_zeros(turns, data.classes, data.rows.shape[1])
    best, path = Choice(lambdas[0], -1.0, [], solution[0]), []
    for lambda_ in lambdas:
        solution = minimize(data, weights, lambda_, solution, GRID_TOLERANCE)
        logits = _logits(data.rows[asked], solution)  # [n, P, K]
        own = logits[torch.arange(len(logits)), fold[asked]]  # each row by the fold that did not see it
        score = balanced_accuracy(truth, own.argmax(1).numpy(), data.classes)
        path.append((lambda_, score))
        if score > best.score:
            best = Choice(lambda_, score, path, solution.mean(0))
        elif score < best.score - DROP:
            break
    return best


def minimize(
    data: Labelled,
    weights: Float[Tensor, "P N"],
    lambda_: float,
    start: Float[Tensor, "P K R"],
    tolerance: float,
    steps: int = 300,
    memory: int = 10,
) -> Float[Tensor, "P K R"]:
    """Solve P problems that differ in the weights of their rows by one batch of L-BFGS runs.

    Every problem has its own step lengths and memory. The line search works on logits, where a trial costs no
    matrix product, and the first inverse Hessian is the diagonal that softmax has in principal axes.
    """
    classes = start.shape[1]
    penalty = lambda_ * data.free
    w = weights.T.contiguous()  # [N, P]
    target = F.one_hot(data.labels, classes).to(data.rows.dtype)[:, None]  # [N, 1, K]

    point = start.clone()
    logits = _logits(data.rows, point)
    chances = logits.softmax(2)
    gradient = _gradient(data.rows, w[..., None] * (chances - target), penalty * point)
    pairs: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        if bool((gradient.flatten(1).norm(dim=1) <= tolerance).all()):
            break
        spread = (w * (1 - chances.square().sum(2))).sum(0) / max(classes - 1, 1)  # [P]
        diagonal = 1 / (spread.clamp_min(1e-6)[:, None, None] * data.curvature + penalty)
        direction = -_apply_inverse_hessian(gradient, pairs, diagonal)
        line = _Line(logits, _logits(data.rows, direction), target, w)
        slope, bend = _dot(penalty * point, direction), _dot(penalty * direction, direction)
        length, logits, chances = _search(line, chances, slope, bend)
        step = length[:, None, None] * direction
        point = point + step
        new = _gradient(data.rows, w[..., None] * (chances - target), penalty * point)
        turn = new - gradient
        curvature = _dot(step, turn)
        usable = curvature > 1e-10 * _dot(turn, turn).clamp_min(1e-30)
        pairs = [*pairs[1 - memory :], (step, turn, torch.where(usable, 1 / curvature, 0.0))]
        gradient = new
    return point


def _apply_inverse_hessian(
    gradient: Float[Tensor, "P K R"],
    pairs: list[tuple[Tensor, Tensor, Tensor]],
    diagonal: Float[Tensor, "P 1 R"],
) -> Float[Tensor, "P K R"]:
    """Apply the two-loop recursion of L-BFGS (Nocedal and Wright, algorithm 7.4)."""
    q, alphas = gradient, []
    for step, turn, inverse in reversed(pairs):
        alpha = inverse * _dot(step, q)
        q = q - alpha[:, None, None] * turn
        alphas.append(alpha)
    q = diagonal * q
    if pairs:
        _, turn, inverse = pairs[-1]
        scaled = inverse * _dot(turn, diagonal * turn)
        q = q / torch.where(scaled > 0, scaled, 1.0)[:, None, None]
    for (step, turn, inverse), alpha in zip(pairs, reversed(alphas), strict=True):
        q = q + (alpha - inverse * _dot(turn, q))[:, None, None] * step
    return q


class _Line(NamedTuple):
    """What the mean cross-entropy of P problems depends on along a line of each."""

    logits: Float[Tensor, "N P K"]
    """At its beginning."""
    change: Float[Tensor, "N P K"]
    """Per unit of length."""
    target: Float[Tensor, "N 1 K"]
    weights: Float[Tensor, "N P"]

    def derivatives(self, chances: Float[Tensor, "N P K"]) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """Give slope and curvature where the classes have these probabilities."""
        weighted = chances * self.change
        mean = weighted.sum(2)
        slope = (self.weights * (mean - (self.target * self.change).sum(2))).sum(0)
        return slope, (self.weights * ((weighted * self.change).sum(2) - mean.square())).sum(0)


def _search(
    line: _Line,
    chances: Float[Tensor, "N P K"],
    penalty_slope: Float[Tensor, " P"],
    penalty_curvature: Float[Tensor, " P"],
    trials: int = 12,
) -> tuple[Float[Tensor, " P"], Float[Tensor, "N P K"], Float[Tensor, "N P K"]]:
    """Find nearly exact step lengths of convex problems by safeguarded Newton steps on the slope.

    Gives the lengths, and logits and probabilities at the new points.
    """
    slope, curvature = line.derivatives(chances)
    first = slope + penalty_slope
    low, high = torch.zeros_like(first), torch.full_like(first, torch.inf)
    length = (-first / (curvature + penalty_curvature).clamp_min(1e-30)).clamp_min(0)
    for _ in range(trials):
        moved = line.logits + length[None, :, None] * line.change
        chances = moved.softmax(2)
        slope, curvature = line.derivatives(chances)
        slope = slope + penalty_slope + length * penalty_curvature
        good = (slope >= 0.5 * first) & (slope <= -0.1 * first) | (first >= 0)
        if bool(good.all()):
            break
        low, high = torch.where(slope < 0, length, low), torch.where(slope > 0, length, high)
        newton = length - slope / (curvature + penalty_curvature).clamp_min(1e-30)
        middle = torch.where(high.isinf(), 4 * length, (low + high) / 2)
        inside = (newton > low) & (newton < high) & (newton <= 10 * length)
        length = torch.where(good, length, torch.where(inside, newton, middle))
    return length, moved, chances


def _logits(rows: Float[Tensor, "N R"], solution: Float[Tensor, "P K R"]) -> Float[Tensor, "N P K"]:
    return F.linear(rows, solution.flatten(0, 1)).view(len(rows), *solution.shape[:2])


def _gradient(
    rows: Float[Tensor, "N R"], residual: Float[Tensor, "N P K"], penalty: Float[Tensor, "P K R"]
) -> Float[Tensor, "P K R"]:
    gradient = (residual.flatten(1).T @ rows).view(penalty.shape) + penalty
    return gradient - gradient.mean(1, keepdim=True)  # zero but for rounding, and nothing else would hold the biases


def _dot(one: Float[Tensor, "P K R"], other: Float[Tensor, "P K R"]) -> Float[Tensor, " P"]:
    return (one * other).sum((1, 2))


def _turn(
    rows: Float[Tensor, "N D"],
) -> tuple[Float[Tensor, "N R"], Float[Tensor, "D R"] | None, Float[Tensor, " R"]]:
    """Turn centred rows into their principal axes: the rows there, the axes as columns, the variances."""
    count, width = rows.shape
    if min(count, width) > LARGEST_ROTATION:
        return rows, None, rows.square().mean(0)
    basis = None
    if width > count:  # the solution lies in the span of the rows
        basis, triangle = torch.linalg.qr(rows.T)
        rows = triangle.T
    variances, axes = torch.linalg.eigh(rows.T @ rows / count)
    return rows @ axes, axes if basis is None else basis @ axes, variances.clamp_min(0)


def _tensor(features: Float[np.ndarray, "N D"]) -> Float[Tensor, "N D"]:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
