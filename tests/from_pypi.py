"""Packages that no distribution has: from PyPI into build/, once."""

from __future__ import annotations

import fcntl
import pathlib
import shutil
import subprocess
import sys

BUILD = pathlib.Path(__file__).resolve().parent.parent / "build"


def install(name: str, *requirements: str) -> pathlib.Path:
    """The folder to import from, build/{name}. Raises RuntimeError where pip or a registry is missing."""
    folder = BUILD / name
    BUILD.mkdir(exist_ok=True)
    with open(BUILD / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            half = folder.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1"]
            done = subprocess.run(
                [*command, "--target", str(half), *requirements], capture_output=True, text=True
            )
            if done.returncode != 0:
                raise RuntimeError(f"pip could not install {requirements}:\n{done.stderr[-2000:]}")
            half.rename(folder)
    return folder
