"""A data set: episodes by uuid or folder, in a folder here or in a repository."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from .episode import Episode, parse_object
from .errors import BadFile, NotFound
from .hub import Hub
from .place import Blob, Folder, LocalBlob, Place

_READERS = 16  # requests at a time
_NO_DATA_SETS = (  # pattern, what a folder is that has such files, how far above its data set is
    ("*/*/*/tracks.npz", "a lab", 0),
    ("*/*/tracks.npz", "a folder of days", 1),
    ("*/tracks.npz", "a day", 2),
    ("tracks.npz", "an episode", 3),
    ("data/*/shard-*.tar", "archives without meta/shard-*.jsonl", None),
    ("*/shard-*.tar", "the archives", 0),
    ("shard-*.tar", "the archives of a lab", 1),
)


@dataclasses.dataclass(frozen=True)
class _EpisodeFolder:
    """An episode whose files lie in a folder."""

    place: Place
    folder: str

    @property
    def name(self) -> str:
        return f"{self.place.name}/{self.folder}"

    def names(self) -> list[str]:
        return self.place.names(self.folder)

    def blob(self, name: str) -> Blob:
        return self.place.blob(f"{self.folder}/{name}")

    def quality(self) -> dict[str, Any]:
        blob = self.blob("quality.json")
        quality = parse_object(blob)
        if not isinstance(quality.get("episode_id"), str):
            raise BadFile(blob.name, "a text episode_id", ", ".join(quality) or "{}")
        return quality


@dataclasses.dataclass(frozen=True)
class _ShardedEpisode:
    """An episode whose files are in an archive, and its line in the archive's index."""

    place: Place
    folder: str
    line: bytes

    @property
    def name(self) -> str:
        return f"{self.place.name}/{self.folder}"

    def names(self) -> list[str]:
        return [member["name"] for member in json.loads(self.line)["members"]]

    def blob(self, name: str) -> Blob:
        index = json.loads(self.line)
        for member in index["members"]:
            if member["name"] == name:
                return self.place.blob(index["shard"], member["offset"], member["size"])
        raise NotFound(f"{self.name}, {index['shard']}", name, ", ".join(self.names()))

    def quality(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.line)["quality"]
        return value


class Dataset(Mapping[str, Episode]):
    """Episodes by uuid; data_set[folder] finds them, too.

    @param place     a folder of results, one of shards, or hf://datasets/NAMESPACE/NAME.
    @param language  DROID's droid_language_annotations.json.

    Can be pickled and used in several processes. What is added later is not seen. Of an episode
    whose quality.json is damaged, a warning is given where all uuids are asked for.
    """

    def __init__(
        self, place: str | os.PathLike[str], language: str | os.PathLike[str] | None = None
    ):
        remote = isinstance(place, str) and place.startswith("hf://")
        self.place: Place = Hub(str(place)) if remote else Folder(place)
        self._language = parse_object(LocalBlob(pathlib.Path(language))) if language else {}
        folders = self.place.glob("*/*/*/*/tracks.npz")
        self._files: dict[str, _EpisodeFolder | _ShardedEpisode] = {
            folder: _EpisodeFolder(self.place, folder)
            for folder in (path.removesuffix("/tracks.npz") for path in folders)
        }
        self._uuids: dict[str, str] = {}  # uuid -> folder, of those known so far
        self._lines = self._read_lines()
        self._read_indexes()
        known = set(self._uuids.values())
        self._unread = {folder: None for folder in self._files if folder not in known}
        self._damaged: dict[str, BadFile | NotFound] = {}  # folder -> its quality.json
        if not self._files:
            wanted = "episodes as LAB/OUTCOME/DATE/EPISODE/tracks.npz, or data/ and meta/ of shards"
            raise NotFound(self.place.name, wanted, self._found_instead())

    def __repr__(self) -> str:
        return f"Dataset({self.place.name!r})"

    def __len__(self) -> int:
        """Without those that are known to be damaged."""
        return len(self._files) - len(self._damaged)

    def __iter__(self) -> Iterator[str]:
        self._read_uuids(list(self._unread))
        return iter(self._uuids)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._folder(key) is not None

    def __getitem__(self, key: str) -> Episode:
        folder = self._folder(key)
        if folder is None:
            for damaged, error in self._damaged.items():
                if _moment(damaged) and _moment(damaged) == _moment(key):
                    raise error
            raise NotFound(self.place.name, f"episode {key}", f"{len(self)} others")
        said = self._language.get(key) or {}
        if self._language and not said:
            said = self._language.get(str(self._files[folder].quality()["episode_id"])) or {}
        return Episode(self._files[folder], tuple(said.values()))

    @property
    def has_language(self) -> bool:
        """Whether it was given instructions."""
        return bool(self._language)

    def line(self, folder: str) -> dict[str, Any] | None:
        """What meta/episodes.jsonl says of an episode; None: nothing."""
        if folder not in self._lines:
            return None
        line: dict[str, Any] = json.loads(self._lines[folder])
        return line

    @property
    def folders(self) -> list[str]:
        """{lab}/{outcome}/{date}/{time} of every episode"""
        return sorted(self._files)

    def _found_instead(self) -> str:
        """What a folder is that is no data set's."""
        for pattern, found, level in _NO_DATA_SETS:
            if self.place.glob(pattern):
                above = isinstance(self.place, Folder) and level is not None
                parents = pathlib.Path(self.place.name).resolve().parents
                return f"{found} of the data set {parents[level or 0]}" if above else found
        return "none"

    def _read_indexes(self) -> None:
        paths = self.place.glob("meta/shard-*.jsonl")
        with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
            blobs = [self.place.blob(path) for path in paths]
            texts = readers.map(lambda blob: bytes(blob.read(0, blob.size)), blobs)
            # The highest number counts for an episode that is in several.
            for blob, text in zip(blobs, texts):
                for line in text.splitlines():
                    uuid, folder = _named_in(blob, line, "key")
                    self._uuids[uuid] = folder
                    self._files[folder] = _ShardedEpisode(self.place, folder, line)

    def _read_lines(self) -> dict[str, bytes]:
        """folder -> its line in the program's table, of episodes that are there"""
        lines, uuids = {}, {}
        for path in self.place.glob("meta/episodes.jsonl"):
            blob = self.place.blob(path)
            for line in bytes(blob.read(0, blob.size)).splitlines():
                uuid, folder = _named_in(blob, line, "uuid")
                lines[folder], uuids[folder] = line, uuid
        # In the order that they have without the table.
        self._uuids |= {uuids[folder]: folder for folder in self._files if folder in uuids}
        return {folder: line for folder, line in lines.items() if folder in self._files}

    def _folder(self, key: str) -> str | None:
        folder = key.strip("/")
        if folder in self._files:
            return folder
        if key not in self._uuids:
            self._read_uuids([f for f in self._unread if _moment(f) == _moment(key)])
        if key not in self._uuids:
            self._read_uuids(list(self._unread))
        return self._uuids.get(key)

    def _read_uuids(self, folders: list[str]) -> None:
        """Which only quality.json tells."""

        def read(folder: str) -> str | BadFile | NotFound:
            try:
                return str(self._files[folder].quality()["episode_id"])
            except (BadFile, NotFound) as error:
                return error

        with concurrent.futures.ThreadPoolExecutor(_READERS) as readers:
            for folder, uuid in zip(folders, readers.map(read, folders)):
                if not isinstance(uuid, str):
                    self._damaged[folder] = uuid
                    self._unread.pop(folder)
                    warnings.warn(str(uuid), stacklevel=4)
                    continue
                if (other := self._uuids.setdefault(uuid, folder)) != folder:
                    name = self._files[folder].name
                    raise BadFile(name, f"an episode_id that {other} does not have", uuid)
                self._unread.pop(folder)


def _named_in(blob: Blob, line: bytes, key: str) -> tuple[str, str]:
    """The uuid, under `key`, and the folder of a line of an index."""
    try:
        value = json.loads(line)
        return str(value[key]), str(value["folder"])
    except (ValueError, KeyError, TypeError) as error:
        found = f"{line[:60].decode(errors='replace')!r}"
        what = "a line of an index of " + ("shards" if key == "key" else "episodes")
        raise BadFile(blob.name, what, found) from error


def _moment(name: str) -> str:
    """Lab, day and time of a uuid or a folder, which in DROID belong together."""
    uuid = re.fullmatch(r"([^+/]*)\+[^+]*\+(\d{4}-\d\d-\d\d)-(\d\d)h-(\d\d)m-(\d\d)s", name)
    folder = re.fullmatch(r"([^/]*)/[^/]*/([^/]*)/.*(\d\d)[:_](\d\d)[:_](\d\d)_\d{4}", name)
    match = uuid or folder
    return " ".join(match.groups()) if match else ""
