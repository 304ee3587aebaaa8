"""The Hub's official client."""

from __future__ import annotations

import os
import pathlib
import sys

import from_pypi


def install() -> pathlib.Path:
    """As from_pypi.install."""
    return from_pypi.install("official_client", "huggingface_hub>=1.0,<2")


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
