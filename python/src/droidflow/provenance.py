"""Where an exported data set comes from, as its episodes tell."""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

from .place import Place

_MADE_WITH = ("commit", "config_sha256", "instruction_set")


class Provenance:
    """Gathers what quality.json of each episode says, as the program's meta/dataset.json does."""

    def __init__(self) -> None:
        self._made_with: dict[str, int] = {}  # as JSON -> episodes
        self._annotations: dict[str, int] = {}
        self._configs: dict[str, Any] = {}

    def add(self, quality: dict[str, Any]) -> None:
        """The original pipeline's results say nothing of it."""
        said = quality.get("provenance") or {}
        made_with = {"droidflow_version": quality.get("droidflow_version")}
        _count(self._made_with, made_with | {key: said.get(key) for key in _MADE_WITH})
        for file in said.get("annotations") or ():
            _count(self._annotations, file)
        if config := said.get("config_sha256"):
            self._configs.setdefault(config, quality.get("config"))

    def document(self, source: Place) -> dict[str, Any]:
        return {
            "source": source.name,
            "source_commit": getattr(source, "commit", None),
            "exported_with": _version(),
            "made_with": _counted(self._made_with),
            "configs": self._configs,
            "annotations": _counted(self._annotations),
        }


def _version() -> str | None:
    try:
        return importlib.metadata.version("droidflow")
    except importlib.metadata.PackageNotFoundError:  # used where its sources are
        return None


def _count(counts: dict[str, int], value: dict[str, Any]) -> None:
    key = json.dumps(value)
    counts[key] = counts.get(key, 0) + 1


def _counted(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [{**json.loads(key), "episodes": count} for key, count in sorted(counts.items())]
