"""Where results lie: a folder here, or a repository (hub.py). Both give files as blobs."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import glob
import mmap
import os
import pathlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import numpy as np

from .errors import BadFile, NotFound

_SMALL_BYTES = 1 << 18  # so much is read sooner than mapped


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


class LocalBlob:
    """Part of a local file: a small one is read, a large one mapped into memory.

    Where the system gives no more mappings, what is asked for is read.
    """

    def __init__(self, path: pathlib.Path, offset: int = 0, size: int | None = None):
        self.name = str(path)
        self._path, self._offset = path, offset
        self._bytes: memoryview | None = None
        self.mapped = False
        with self._open() as file:
            here = os.fstat(file.fileno()).st_size
            self.size = here - offset if size is None else size
            if offset + self.size > here:
                raise BadFile(path, f"{offset + self.size} bytes", f"{here}")
            if self.size <= _SMALL_BYTES:
                file.seek(offset)
                self._bytes = memoryview(file.read(self.size))
                return
            begin = offset - offset % mmap.ALLOCATIONGRANULARITY
            with contextlib.suppress(OSError):
                pages = _map(file.fileno(), begin, offset + self.size - begin)
                self._bytes, self.mapped = pages[offset - begin :], True

    def read(self, start: int, stop: int) -> memoryview:
        if self._bytes is not None:
            return self._bytes[start:stop]
        with self._open() as file:
            file.seek(self._offset + start)
            return memoryview(file.read(min(stop, self.size) - start))

    def _open(self) -> BinaryIO:
        try:
            return open(self._path, "rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound(self._path, "a file", "none") from error


class _Pages:
    """Mapped pages, as NumPy takes them; unmapped when no array is left of them."""

    mapped: set[int] = set()  # addresses

    def __init__(self, address: int, length: int, unmap: Callable[[int, int], object]):
        self._address = address
        self._unmap = functools.partial(unmap, address, length)
        self.mapped.add(address)
        self.__array_interface__ = {
            "version": 3,
            "data": (address, True),  # read-only
            "shape": (length,),
            "typestr": "|u1",
        }

    def __del__(self) -> None:
        self.mapped.discard(self._address)
        self._unmap()


@functools.cache
def _libc() -> Any:
    libc = ctypes.CDLL(None, use_errno=True)
    part = ctypes.c_void_p, ctypes.c_size_t
    libc.mmap.argtypes = [*part, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mmap.restype = ctypes.c_void_p
    libc.munmap.argtypes = [*part]
    return libc


@functools.cache
def _most_mappings() -> int:
    """Of those that the system allows, some are left for what else takes memory."""
    try:
        allowed = int(pathlib.Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        allowed = 65_530
    return allowed * 9 // 10


def _map(descriptor: int, begin: int, length: int) -> memoryview:
    """Not by Python's own mmap, which keeps a descriptor: a process may have few of them."""
    if os.name == "nt":
        return memoryview(mmap.mmap(descriptor, length, access=mmap.ACCESS_READ, offset=begin))
    if len(_Pages.mapped) >= _most_mappings():
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
    libc = _libc()
    address = libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, begin)
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return np.asarray(_Pages(address, length, libc.munmap)).data


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
        return LocalBlob(self._root / path, offset, size)
