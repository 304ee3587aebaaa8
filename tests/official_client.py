"""The Hub's official client, which no distribution has: from PyPI into build/, once."""

from __future__ import annotations

import fcntl
import os
import pathlib
import shutil
import subprocess
import sys

REQUIREMENT = "huggingface_hub>=1.0,<2"
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "build/official_client"


def install() -> pathlib.Path:
    """The folder to import from. Raises RuntimeError where pip or a registry is missing."""
    FOLDER.parent.mkdir(exist_ok=True)
    with open(FOLDER.parent / "official_client.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FOLDER.is_dir():
            half = FOLDER.with_suffix(".half")
            shutil.rmtree(half, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1"]
            done = subprocess.run(
                [*command, "--target", str(half), REQUIREMENT], capture_output=True, text=True
            )
            if done.returncode != 0:
                raise RuntimeError(f"pip could not install {REQUIREMENT}:\n{done.stderr[-2000:]}")
            half.rename(FOLDER)
    return FOLDER


def environment(home: pathlib.Path) -> dict[str, str]:
    """For a process, or before the client is imported: no Xet, quiet, nothing of the user's."""
    return {
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
        "HF_HOME": str(home),
    }


def api(endpoint: str, token: str, home: pathlib.Path):
    """Its HfApi, imported into this process."""
    folder = str(install())
    if folder not in sys.path:
        os.environ.update(environment(home))
        sys.path.insert(0, folder)
    import huggingface_hub

    return huggingface_hub.HfApi(endpoint=endpoint, token=token)
