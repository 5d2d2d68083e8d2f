"""What methods need before they can be built, for tests that build them all."""

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

from selfsup.networks.codes import CodeHead, CodeSpace, write_code_space
from selfsup.networks.encoders import build_encoder
from selfsup.networks.generators import Generator


def needed(name: str) -> dict[str, Any]:
    """Give the arguments without which a method cannot be built."""
    return {"generator": Path(_folder().name)} if name == "aetgan" else {}


def code_space(size: int = 32, codes: int = 6) -> CodeSpace:
    """Give an untrained encoder and a generator whose pictures differ clearly from code to code."""
    encoder = build_encoder("small", size, seed=5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        space = CodeSpace(encoder, CodeHead(encoder, codes), Generator(codes, size, width=8))
        for weight in space.generator.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.2)
    return space.eval()


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    folder = tempfile.TemporaryDirectory()
    write_code_space(code_space(), Path(folder.name))
    return folder
