"""Real kills: a run that is killed at random moments and resumed ends with the same bytes.

`python tests/torture.py` (`make torture`) kills a run of every method 20 times; the test suite does a few.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METHODS = ("rotation", "dae", "simclr", "bigan", "dcgan")


def command(method: str, data: Path, out: Path, steps: int) -> list[str]:
    """Give the command line of a short run that saves often."""
    return [
        *(sys.executable, "-m", "selfsup", "pretrain", method, str(data), "--out", str(out)),
        *("--steps", str(steps), "--batch-size", "16", "--image-size", "32", "--threads", "1"),
        *("--precision", "float32", "--layout", "contiguous", "--checkpoint-every", "0.2s", "--quiet"),
    ]


def images(file: Path, count: int = 64) -> Path:
    """Write a few smooth random images as one array."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    np.save(file, coarse.repeat(4, axis=1).repeat(4, axis=2))
    return file


def straight(method: str, data: Path, out: Path, steps: int) -> bytes:
    """Run without a stop; give the encoder's bytes."""
    subprocess.run(command(method, data, out, steps), check=True, env=_environment(), timeout=600)
    return (out / "encoder.safetensors").read_bytes()


def killed(method: str, data: Path, out: Path, steps: int, kills: int, seed: int = 0) -> tuple[bytes, int]:
    """Kill a run `kills` times at random moments and resume it to its end; give the encoder's bytes and the kills.

    A run that ends before it has been killed often enough is followed by another from the beginning,
    which must end the same.
    """
    chance = random.Random(seed)
    done, ends = 0, set()
    while True:
        process = subprocess.Popen(command(method, data, out, steps), env=_environment())
        if done < kills:
            _wait_for_start(process, out)
            try:
                process.wait(chance.uniform(0.0, 3.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                done += 1
                continue
        if process.wait(600) != 0:
            raise RuntimeError(f"the resumed {method} run failed with code {process.returncode}")
        ends.add((out / "encoder.safetensors").read_bytes())
        if len(ends) > 1:
            raise RuntimeError(f"two {method} runs ended differently")
        if done >= kills:
            return ends.pop(), done
        shutil.rmtree(out)


def _changed(file: Path) -> float:
    """Give when a file was written, 0 if it was renamed meanwhile."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _wait_for_start(process: subprocess.Popen[bytes], out: Path) -> None:
    """Wait until Python and torch are loaded, or kills would hit nothing but imports."""
    began = time.time()
    while process.poll() is None and time.time() - began < 120:
        newest = max((_changed(file) for file in out.rglob("*")), default=0.0) if out.is_dir() else 0.0
        if newest > began:
            return
        time.sleep(0.02)


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    """Torture every method and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    given = parser.parse_args()
    different = []
    for method in given.methods:
        with tempfile.TemporaryDirectory() as folder:
            data = images(Path(folder, "images.npy"))
            expected = straight(method, data, Path(folder, "straight"), given.steps)
            found, kills = killed(method, data, Path(folder, "killed"), given.steps, given.kills)
            equal = found == expected
            print(f"{method}: {kills} kills, the encoder's bytes are {'equal' if equal else 'DIFFERENT'}", flush=True)
            different += [] if equal else [method]
    if different:
        sys.exit(1)


if __name__ == "__main__":
    main()
