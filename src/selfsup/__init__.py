"""Which self-supervised pretext task should I use on my images, if any?

The functions of the command line, for Python: `selfsup.pretrain("rotation", "photos/")`. Importing this costs
nothing; torch is loaded when a function that needs it is first used.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfsup.advice.advise import advise as advise
    from selfsup.advice.demo import demo as demo
    from selfsup.data.scenes.folder import render_scenes as render_scenes
    from selfsup.data.single import SingleImage as SingleImage
    from selfsup.evaluation.audit import audit as audit
    from selfsup.evaluation.baseline import baseline as baseline
    from selfsup.evaluation.embed import embed as embed
    from selfsup.evaluation.evaluate import evaluate as evaluate
    from selfsup.evaluation.predict import predict as predict
    from selfsup.export.timm import export as export
    from selfsup.networks.encoders import load_encoder as load_encoder
    from selfsup.report.report import write_report as write_report
    from selfsup.training.pretrain import pretrain as pretrain

__version__ = "0.1.0"

PLACES = {
    "pretrain": "selfsup.training.pretrain",
    "evaluate": "selfsup.evaluation.evaluate",
    "advise": "selfsup.advice.advise",
    "audit": "selfsup.evaluation.audit",
    "baseline": "selfsup.evaluation.baseline",
    "embed": "selfsup.evaluation.embed",
    "predict": "selfsup.evaluation.predict",
    "export": "selfsup.export.timm",
    "write_report": "selfsup.report.report",
    "SingleImage": "selfsup.data.single",
    "render_scenes": "selfsup.data.scenes.folder",
    "load_encoder": "selfsup.networks.encoders",
    "demo": "selfsup.advice.demo",
}
"""Module of each public name."""

__all__ = [*PLACES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public function when it is first used."""
    if name not in PLACES:
        raise AttributeError(f"module 'selfsup' has no attribute {name!r}")
    return getattr(importlib.import_module(PLACES[name]), name)


def __dir__() -> list[str]:
    """Name the public functions without importing them."""
    return sorted({*globals(), *PLACES})


class _Package(ModuleType):
    """This package: `selfsup.export` stays the function when the folder of that name is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in PLACES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
