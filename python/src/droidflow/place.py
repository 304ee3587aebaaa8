"""Where results lie: a folder here, or a repository (hub.py). Both give files as blobs."""

from __future__ import annotations

import glob
import mmap
import os
import pathlib
from typing import Protocol

from .errors import BadFile, NotFound


class Blob(Protocol):
    """The bytes of a file, or of a part of one, read where asked for."""

    name: str  # for messages
    size: int
    mapped: bool  # reading copies nothing

    def read(self, start: int, stop: int) -> memoryview: ...


class Place(Protocol):
    """A tree of files. Paths are relative, with slashes. Can be pickled."""

    name: str

    def glob(self, pattern: str) -> list[str]:
        """Paths of files, sorted; a star stays within a folder."""
        ...

    def names(self, folder: str) -> list[str]:
        """Files below a folder, relative to it, sorted."""
        ...

    def blob(self, path: str, offset: int = 0, size: int | None = None) -> Blob:
        """Raises NotFound."""
        ...


class MappedBlob:
    """Part of a local file, mapped into memory."""

    mapped = True

    def __init__(self, path: pathlib.Path, offset: int = 0, size: int | None = None):
        self.name = str(path)
        try:
            with open(path, "rb") as file:
                here = os.fstat(file.fileno()).st_size
                self.size = here - offset if size is None else size
                if offset + self.size > here:
                    raise BadFile(path, f"{offset + self.size} bytes", f"{here}")
                begin = offset - offset % mmap.ALLOCATIONGRANULARITY
                length = offset + self.size - begin
                self._bytes = memoryview(b"")
                if self.size > 0:
                    pages = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ, offset=begin)
                    self._bytes = memoryview(pages)[offset - begin :]
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(path, "a file", "none") from error

    def read(self, start: int, stop: int) -> memoryview:
        return self._bytes[start:stop]


class Folder:
    """A folder on this machine."""

    def __init__(self, root: str | os.PathLike[str]):
        self._root = pathlib.Path(root)
        self.name = str(root)
        if not self._root.is_dir():
            raise NotFound(root, "a folder", "a file" if self._root.exists() else "nothing")

    def glob(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, root_dir=self._root))

    def names(self, folder: str) -> list[str]:
        below = self._root / folder
        return sorted(p.relative_to(below).as_posix() for p in below.rglob("*") if p.is_file())

    def blob(self, path: str, offset: int = 0, size: int | None = None) -> Blob:
        return MappedBlob(self._root / path, offset, size)
