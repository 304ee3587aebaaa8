"""Depth of a camera, frame by frame: FFV1 in Matroska, read where the file's index says."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadFile, NotFound, Unsupported
from .place import Blob

_HEAD_BYTES = 4096  # what stands before the first frame fits well
_SEGMENT, _SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = (
    0x18538067,
    0x114D9B74,
    0x4DBB,
    0x53AB,
    0x53AC,
)
_TRACKS, _TRACK, _CODEC_ID, _CODEC_PRIVATE = 0x1654AE6B, 0xAE, 0x86, 0x63A2
_CUES, _CUE, _CUE_POSITIONS, _CUE_CLUSTER, _CUE_RELATIVE = 0x1C53BB6B, 0xBB, 0xB7, 0xF1, 0xF0
_SIMPLE_BLOCK = 0xA3

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _number(data: memoryview, at: int, keep_marker: bool) -> tuple[int, int]:
    """An EBML number of variable length, and where it ends."""
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    return value if keep_marker else value & ((1 << 7 * length) - 1), at + length


def _element(data: memoryview, at: int) -> tuple[int, int, int]:
    """Its kind, where its content begins and how long that is."""
    kind, at = _number(data, at, keep_marker=True)
    size, at = _number(data, at, keep_marker=False)
    return kind, at, size


def _children(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    at = 0
    while at < len(data):
        kind, begin, size = _element(data, at)
        at = begin + size
        yield kind, data[begin:at]


def _find(data: memoryview, kind: int) -> memoryview:
    return next(content for k, content in _children(data) if k == kind)


class MatroskaVideo:
    """The coded frames of a Matroska file with one track and an index of every frame."""

    def __init__(self, blob: Blob):
        self._blob = blob
        try:
            self._read_index()
        except (LookupError, StopIteration, ValueError) as error:
            raise BadFile(blob.name, "Matroska with one track and its index", "another") from error

    def __len__(self) -> int:
        return len(self._frames)

    def _read_index(self) -> None:
        head = self._blob.read(0, min(_HEAD_BYTES, self._blob.size))
        _, begin, size = _element(head, 0)
        kind, segment, _ = _element(head, begin + size)
        if kind != _SEGMENT:
            raise ValueError
        self._signature = bytes(head[: begin + size])
        places = {}
        at = segment
        while _SEEK_HEAD not in places:
            kind, begin, size = _element(head, at)
            places[kind] = at
            at = begin + size
        for kind, seek in _children(head[begin:at]):
            if kind == _SEEK:
                kind = int.from_bytes(_find(seek, _SEEK_ID), "big")
                places[kind] = segment + int.from_bytes(_find(seek, _SEEK_POSITION), "big")
        _, begin, size = _element(head, places[_TRACKS])
        if begin + size > len(head):
            raise ValueError
        self._tracks = bytes(head[places[_TRACKS] : begin + size])
        track = _find(head[begin : begin + size], _TRACK)
        self.codec_id = bytes(_find(track, _CODEC_ID)).decode()
        self.codec_private = bytes(_find(track, _CODEC_PRIVATE))

        cues = self._blob.read(places[_CUES], self._blob.size)
        _, begin, size = _element(cues, 0)
        self._frames: list[tuple[int, int]] = []  # cluster, and where the frame is in its content
        for kind, cue in _children(cues[begin : begin + size]):
            if kind == _CUE:
                position = _find(cue, _CUE_POSITIONS)
                cluster = segment + int.from_bytes(_find(position, _CUE_CLUSTER), "big")
                relative = int.from_bytes(_find(position, _CUE_RELATIVE), "big")
                self._frames.append((cluster, relative))
        self._ends = [cluster for cluster, _ in self._frames[1:]] + [places[_CUES]]

    def frame(self, index: int) -> bytes:
        """One coded frame."""
        cluster, relative = self._frames[index]
        # Of frames that share a cluster all but the last end where it ends.
        ends = (end for end in self._ends[index:] if end > cluster)
        data = self._blob.read(cluster, min(ends, default=self._blob.size))
        try:
            _, content, _ = _element(data, 0)
            kind, begin, size = _element(data, content + relative)
        except IndexError:
            kind, begin, size = 0, 0, 0
        block = data[begin : begin + size]
        if kind != _SIMPLE_BLOCK or len(block) != size:
            raise BadFile(self._blob.name, f"frame {index} where its index says", "none")
        return bytes(block[4:])  # after track, time and flags

    def file_of(self, frames: list[bytes]) -> Iterator[bytes]:
        """The bytes of a file of these frames only."""
        yield self._signature + _SEGMENT.to_bytes(4, "big") + b"\x01" + b"\xff" * 7 + self._tracks
        for time, frame in enumerate(frames):
            block = b"\x81\0\0\x80" + frame
            cluster = b"\xe7\x84" + time.to_bytes(4, "big") + b"\xa3" + _size(len(block)) + block
            yield b"\x1f\x43\xb6\x75" + _size(len(cluster)) + cluster


def _size(value: int) -> bytes:
    return (value | 1 << 56).to_bytes(8, "big")


def _intact(frame: bytes) -> bool:
    """Whether the checksums of all slices of FFV1 are right: decoders guess where they are not.

    Source   RFC 9043, 4.9. Its CRC is that of zlib with the bits of every byte reversed.
    """
    end = len(frame)
    while end > 0:
        begin = end - 8 - int.from_bytes(frame[max(0, end - 8) : end - 5], "big")
        whole = frame[max(0, begin) : end].translate(_REVERSED)
        if begin < 0 or zlib.crc32(whole, 0xFFFFFFFF) != 0xFFFFFFFF:
            return False
        end = begin
    return True


class Depth:
    """depth[j]: frame j of depth.mkv, float32 [H, W] in metres, NaN where there is none.

    A slice gives [n, H, W]. Any frame costs the same. PyAV decodes it, or the program `ffmpeg`.
    """

    def __init__(self, video: Blob, meta: dict[str, Any], meta_name: str):
        self.meta = meta
        self._meta_name = meta_name
        self._blob = video
        found = f"{meta.get('codec')}, {meta.get('pix_fmt')}"
        if found != "ffv1, gray16le":
            raise BadFile(meta_name, "ffv1, gray16le", found)

    @functools.cached_property
    def _video(self) -> MatroskaVideo:
        video = MatroskaVideo(self._blob)
        if len(video) != len(self):
            raise BadFile(self._blob.name, f"{len(self)} frames", f"{len(video)}")
        return video

    def __len__(self) -> int:
        return int(self.meta["frame_count"])

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self), int(self.meta["height"]), int(self.meta["width"])

    @property
    def step_to_frame(self) -> NDArray[np.int32]:
        """[T] the frame that shows each step; -1: none"""
        if self.meta.get("step_to_frame") is None:
            raise NotFound(self._meta_name, "step_to_frame", "none")
        return np.array(self.meta["step_to_frame"], np.int32)

    def __getitem__(self, at: int | slice) -> NDArray[np.float32]:
        frames = range(len(self))[at]
        if isinstance(frames, int):
            return np.asarray(self[frames : frames + 1][0])
        values = self._decode(frames)
        depth_m = values.astype(np.float32) / np.float32(self.meta["scale"])
        depth_m[values == self.meta["invalid_value"]] = np.nan
        return depth_m

    def at_step(self, step: int) -> NDArray[np.float32]:
        """What the camera saw at a step of the tracks. Raises NotFound where no frame shows it."""
        frame = int(self.step_to_frame[step])
        if frame < 0:
            raise NotFound(self._meta_name, f"a frame that shows step {step}", "none")
        return self[frame]

    def _decode(self, indices: Sequence[int]) -> NDArray[np.uint16]:
        """Raw values [n, H, W]."""
        if not indices:
            return np.empty((0, *self.shape[1:]), np.uint16)
        frames = [self._video.frame(index) for index in indices]
        for index, frame in zip(indices, frames):
            if not _intact(frame):
                raise BadFile(self._blob.name, f"the checksums of frame {index}", "others")
        decode = self._with_av if importlib.util.find_spec("av") else self._with_program
        values = decode(frames)
        if values.shape != (len(frames), *self.shape[1:]):
            raise BadFile(
                self._blob.name, f"{(len(frames), *self.shape[1:])} values", f"{values.shape}"
            )
        return values

    def _with_av(self, frames: list[bytes]) -> NDArray[np.uint16]:
        import av

        private = self._video.codec_private
        decoder = av.CodecContext.create("ffv1", "r")
        decoder.width, decoder.height = self.shape[2], self.shape[1]
        # Under the old name of the codec a header of Windows comes first.
        decoder.extradata = private[40:] if self._video.codec_id.startswith("V_MS") else private
        decoder.thread_type = "SLICE"
        pictures = []
        try:
            for frame in frames:
                pictures += decoder.decode(av.Packet(frame))
            pictures += decoder.decode(None)
        except av.FFmpegError as error:
            raise BadFile(self._blob.name, "frames of FFV1", str(error)) from error
        return np.stack([picture.to_ndarray() for picture in pictures])

    def _with_program(self, frames: list[bytes]) -> NDArray[np.uint16]:
        command = "ffmpeg -v error -f matroska -i - -fps_mode passthrough -f rawvideo"
        try:
            done = subprocess.run(
                [*command.split(), "-pix_fmt", "gray16le", "-"],
                input=b"".join(self._video.file_of(frames)),
                capture_output=True,
            )
        except FileNotFoundError as error:
            needed = "the package av or the program ffmpeg"
            raise Unsupported(self._blob.name, needed, "neither") from error
        if done.returncode != 0:
            problem = done.stderr.decode(errors="replace").strip()
            raise BadFile(self._blob.name, "frames of FFV1", problem)
        _, height, width = self.shape
        whole = len(done.stdout) // (2 * height * width) * height * width
        return np.frombuffer(done.stdout, "<u2", whole).reshape(-1, height, width)
