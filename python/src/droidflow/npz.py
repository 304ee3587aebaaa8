"""NumPy's .npz archives, an array at a time: stored members are views of the file's bytes."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadFile, NotFound
from .place import Blob

_TAIL_BYTES = 1 << 16  # holds the directory of all but huge archives
_MAX_HEADER_BYTES = 10_012  # NumPy's own limit


class Npz(Mapping[str, NDArray[Any]]):
    """Read-only arrays by key, loaded when asked for.

    Of a mapped file nothing is copied and no CRC computed; where bytes are copied, it is checked.
    """

    def __init__(self, blob: Blob):
        self._blob = blob
        self.name = blob.name
        self._arrays: dict[str, NDArray[Any]] = {}
        infos, missing = self._directory()
        starts = [info.header_offset + missing for info in infos]
        self._members = {
            info.filename.removesuffix(".npy"): (info, start) for info, start in zip(infos, starts)
        }
        ends = sorted([*starts, blob.size])
        self._end = dict(zip(ends, ends[1:]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key not in self._arrays:
            if key not in self._members:
                raise NotFound(self._blob.name, f"a member {key!r}", ", ".join(self) or "none")
            self._arrays[key] = self._parse(key, self._content(key))
        return self._arrays[key]

    def _directory(self) -> tuple[list[zipfile.ZipInfo], int]:
        """The members, and how many bytes before the tail their offsets do not count."""
        size = self._blob.size
        problem = "no directory at its end"
        for missing in sorted({max(0, size - _TAIL_BYTES), 0}, reverse=True):
            try:
                tail = io.BytesIO(self._blob.read(missing, size))
                return zipfile.ZipFile(tail).infolist(), missing
            except zipfile.BadZipFile as error:
                problem = f"{size} bytes ({error})"
        raise BadFile(self._blob.name, "a ZIP archive", problem)

    def _content(self, key: str) -> memoryview:
        info, start = self._members[key]
        member = self._blob.read(start, self._end[start])
        if bytes(member[:4]) != b"PK\3\4":
            raise BadFile(f"{self._blob.name}, {key}", "a member's header", bytes(member[:4]).hex())
        name_bytes, extra_bytes = struct.unpack_from("<HH", member, 26)
        content = member[30 + name_bytes + extra_bytes :][: info.compress_size]
        if info.compress_type == zipfile.ZIP_DEFLATED:
            try:
                content = memoryview(zlib.decompress(content, -zlib.MAX_WBITS))
            except zlib.error as error:
                raise BadFile(f"{self._blob.name}, {key}", "deflated bytes", str(error)) from error
        elif info.compress_type != zipfile.ZIP_STORED:
            raise BadFile(
                f"{self._blob.name}, {key}", "stored or deflated", f"method {info.compress_type}"
            )
        if len(content) != info.file_size:
            raise BadFile(f"{self._blob.name}, {key}", f"{info.file_size} bytes", f"{len(content)}")
        copied = info.compress_type != zipfile.ZIP_STORED or not self._blob.mapped
        if copied and (crc := zlib.crc32(content)) != info.CRC:
            raise BadFile(f"{self._blob.name}, {key}", f"CRC {info.CRC:08x}", f"{crc:08x}")
        return content

    def _parse(self, key: str, content: memoryview) -> NDArray[Any]:
        start = io.BytesIO(content[:_MAX_HEADER_BYTES])
        try:
            if np.lib.format.read_magic(start) == (1, 0):
                header = np.lib.format.read_array_header_1_0(start)
            else:
                header = np.lib.format.read_array_header_2_0(start)
            shape, column_major, dtype = header
            if dtype.hasobject:
                array = _strings(content[start.tell() :])
            else:
                order: Any = "F" if column_major else "C"
                array = np.ndarray(shape, dtype, content, start.tell(), order=order)
        except (ValueError, TypeError, pickle.UnpicklingError) as error:
            raise BadFile(f"{self._blob.name}, {key}", "an array", str(error)) from error
        if not array.flags.aligned:
            array = array.copy()
        array.flags.writeable = False
        return array


class _Unpickler(pickle.Unpickler):
    """Arrays and text, nothing that could run."""

    def find_class(self, module: str, name: str) -> Any:
        numpy_module = module.replace("numpy._core", "numpy.core")
        if (numpy_module, name) in (
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"a pickle of {module}.{name}")


def _strings(pickled: memoryview) -> NDArray[Any]:
    """Texts that the original pipeline stored as Python objects."""
    array = _Unpickler(io.BytesIO(pickled)).load()
    if not all(isinstance(text, str) for text in np.ravel(array)):
        raise ValueError("objects that are no texts")
    return np.asarray(array, dtype=np.str_)
