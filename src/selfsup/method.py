"""The contract: what a pretext task is to the rest of the program."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int64
from torch import Tensor, nn
from torch.optim import Optimizer

from selfsup.clips import Clips
from selfsup.networks.encoders import Encoder
from selfsup.recipe import Recipe


class DataFacts(NamedTuple):
    """What a method may know of its data before it starts."""

    count: int  # type: ignore[assignment]  # a field, not tuple.count
    """Images in the training set."""
    image_size: int
    """Side in pixels of what the encoder will see."""
    sample: Callable[[int], Tensor]
    """Give n training images [n, 3, S, S] in [0, 1], for priors, bins or k-means."""
    clips: Clips | None = None
    """Where the images are the frames of clips."""


class Batch(NamedTuple):
    """The images of one step, before any view is made of them."""

    images: Tensor
    """[B, 3, S, S] float32 in [0, 1], S = store size >= image size; signals [B, C, L] in their own units; of clips the
    frames that a method asked for, [B, K, 3, S, S]."""
    index: Tensor  # type: ignore[assignment]  # a field, not tuple.index
    """[B] int64, position of each image in the training set."""
    step: int
    """Counts batches, not optimizer steps."""
    progress: float
    """Share of training done, in [0, 1)."""
    extra: Mapping[str, Tensor] = {}
    """Of clips `frames` [B, K] (their numbers), `seconds` [B, K] and `source` [B, K]. Of a method that reads scenes
    `scenes` [B, 3, S, S], `depth` [B, S, S] in world units, `normals` [B, 3, S, S] (right, down, forward; like depth 0
    where nothing is seen) and `contours` [B, 1, S, S], 0 or 1: other pictures than `images`."""


class Objective(NamedTuple):
    """A loss to be stepped, and the part of the method that steps it."""

    loss: Tensor
    """Scalar, a mean over images."""
    part: str = "all"
    """A key of `Method.optimizers`."""
    metrics: Mapping[str, Tensor] = {}
    """Scalars worth showing, means over images (accuracy, ...)."""
    chance: float | None = None
    """Loss of a blind guess, where there is one."""


class Method(nn.Module, ABC):
    """A pretext task: owns an encoder and yields its losses from a batch of images.

    Subclasses are final, one per file. Constructor: the encoder, then the hyperparameters as typed
    keyword arguments with the paper's values; flags, help and saved settings are derived from it.
    State is a buffer of known shape or an optimizer's, nothing else.
    """

    recipe: ClassVar[Recipe]
    """The paper's training settings."""
    headline: ClassVar[str]
    """The metric that says how well the task is solved (`accuracy`), a key of `Objective.metrics`."""
    headline_chance: ClassVar[float | None] = None
    """The headline of a blind guess that does not look at the image, where it is known."""
    headline_rises: ClassVar[bool] = True
    """Whether a larger headline is better."""
    reads: ClassVar[str] = "images"
    """What it is trained on: `images`, `images and signals` (either), `clips`, `images and scenes` (both at once)."""
    sees: ClassVar[str] = "colour"
    """What of an image its encoder is given (see `networks.seeing`): `colour`, `lightness`, `edges` or `halves`.

    A method whose constructor has an argument `sees` lets the user choose; ask `methods.sees`, not the class.
    """

    most_rounds: int = 20
    """How often `start_epoch` is called in a run, at most; every epoch of shorter runs."""
    changes_at: tuple[float, ...] = ()
    """Shares of training after which its steps take more or less than before (a discriminator joins in)."""
    remarks: tuple[str, ...] = ()
    """Sentences about its settings that are to be read before training."""

    encoder: Encoder
    """What pretraining is for; the only part that is kept."""

    @abstractmethod
    def losses(self, batch: Batch) -> Iterator[Objective | list[Objective]]:
        """Yield losses; each is stepped before the next is asked for, a yielded list is stepped together."""

    def start(self, data: DataFacts) -> None:
        """Prepare state that depends on the data; called once, before `optimizers` and before a checkpoint loads."""

    def optimizers(self, recipe: Recipe) -> dict[str, Optimizer]:
        """Give the optimizer of each part; every trainable parameter belongs to exactly one."""
        return {"all": recipe.build(self.parameters())}

    def moments(
        self, clips: Clips, index: Int64[np.ndarray, " B"], draw: np.random.Generator
    ) -> Int64[np.ndarray, "B K"]:
        """Choose the frames of a step, K for each row; only asked of methods that read clips.

        It is called in another thread: all that is random comes from `draw`.

        Args:
            clips: training or held-out ones.
            index: a frame for each row of the global batch, dealt out evenly; it may be ignored.
            draw: where random numbers come from.
        """
        raise NotImplementedError(f"{type(self).__name__} reads no clips")

    def start_epoch(self, embed: Callable[[nn.Module], Tensor]) -> Tensor | None:
        """Prepare an epoch; may return the order [N] in which its images come."""

    def after_step(self, progress: float) -> None:
        """Do what follows every batch (moving averages)."""

    def figures(self, batch: Batch) -> dict[str, Tensor]:
        """Draw the task and the prediction: name -> picture [3, H, W] in [0, 1], rows of tiles."""
        return {}

    def kept(self) -> Mapping[str, bytes]:
        """Give files that a finished run keeps beside the encoder, for other methods to use: name -> content.

        Asked for as training left the method, before the statistics of the encoder's batch norms are re-estimated.
        """
        return {}
