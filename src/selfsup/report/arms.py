"""One look per arm of a comparison, the same in every chart and table of a report.

Methods have a colour, a filled marker and a solid line. Controls are grey, hollow and dashed; a fine-tuned method is
dashed, with a dot inside its marker, in its method's colour; a reference (public weights) is hollow and dotted, in the
colour of the text, and its name begins with "ref.". So the kinds, and each arm within its kind, stay apart in print and
without colour vision.
"""

from dataclasses import dataclass

from selfsup.report.words import visible

COLOURS = 8  # --arm-0 to --arm-7 of the style sheet
SHAPES = ("circle", "square", "triangle", "diamond", "wedge", "pentagon", "star", "bar")
DASHES = ("6 4", "2 3", "9 3 2 3", "12 4", "1 4")

LABELS = {
    "simclr": "SimCLR",
    "dae": "denoising",
    "pixels": "raw pixels",
    "raw_pixels": "raw pixels",
    "random": "random filters",
    "pca": "PCA filters",
    "kmeans": "k-means filters",
    "untrained": "untrained",
    "scratch": "from scratch",
}


@dataclass(frozen=True)
class Arm:
    """The look of an arm: `colour` is a CSS variable, `dash` an SVG pattern or empty for a solid line."""

    name: str
    label: str
    kind: str
    colour: str
    shape: str
    hollow: bool
    dash: str

    @property
    def is_method(self) -> bool:
        """Whether the arm is a pretext task with its encoder frozen."""
        return self.kind == "method"

    @property
    def is_control(self) -> bool:
        """Whether the arm is what a pretext task has to beat; a fine-tuned encoder and a reference are not."""
        return self.kind not in ("method", "finetuned", "reference")

    @property
    def is_reference(self) -> bool:
        """Whether the arm is shown outside the comparison."""
        return self.kind == "reference"


class Arms:
    """Give each arm its look, in the order in which it is first asked for."""

    def __init__(self) -> None:
        self._arms: dict[str, Arm] = {}

    def __getitem__(self, name: str) -> Arm:
        return self.get(name, "method")

    def get(self, name: str, kind: str) -> Arm:
        """Look up an arm, or register it under its kind."""
        if name not in self._arms:
            place = sum(arm.kind == kind for arm in self._arms.values())
            look = {"method": _method, "reference": _reference}.get(kind)
            self._arms[name] = look(name, place) if look else self._control(name, kind, place)
        return self._arms[name]

    def _control(self, name: str, kind: str, place: int) -> Arm:
        """A control is grey; a fine-tuned encoder, named `METHOD fine-tuned`, looks like its method."""
        family = self._arms.get(name.partition(" ")[0]) if kind == "finetuned" else None
        return Arm(
            name=name,
            label=_label(name),
            kind=kind,
            colour=family.colour if family else "var(--control)",
            shape=family.shape if family else SHAPES[place % len(SHAPES)],
            hollow=True,
            dash=DASHES[place % len(DASHES)],
        )


def _method(name: str, place: int) -> Arm:
    return Arm(
        name=name,
        label=_label(name),
        kind="method",
        colour=f"var(--arm-{place % COLOURS})",
        shape=SHAPES[place % len(SHAPES)],
        hollow=False,
        dash="",
    )


def _reference(name: str, place: int) -> Arm:
    # from the other end than controls, so that the first of each differ in more than colour
    return Arm(
        name=name,
        label=f"ref. {visible(name).removesuffix('.safetensors')}",
        kind="reference",
        colour="var(--ink)",
        shape=SHAPES[-1 - place % len(SHAPES)],
        hollow=True,
        dash=DASHES[-1 - place % len(DASHES)],
    )


def _label(name: str) -> str:
    method, space, use = visible(name).partition(" ")
    return LABELS.get(method, method.replace("_", " ")) + space + use
