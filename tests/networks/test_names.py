"""Names of encoders are checked without timm."""

import subprocess
import sys

from selfsup.networks.names import timm_names


def test_names_are_timms() -> None:
    """What is read from the source files is what timm lists."""
    import timm

    assert timm_names() == frozenset(timm.list_models())


def test_checking_a_name_imports_nothing_heavy() -> None:
    """A misspelled encoder is refused before torch or timm is imported."""
    code = """
import sys
from selfsup.errors import InputError
from selfsup.networks.names import check_encoder_name
check_encoder_name("resnet50")
try:
    check_encoder_name("resnet5O")
except InputError as error:
    print(error)
assert not {"torch", "timm"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "did you mean resnet50" in done.stdout
