"""Rectification, stereo warping and recording files, computed a second time with NumPy and ffmpeg.

An oracle, not a product: it follows the written specification and shares no code with the C++ it
judges. Units: pixels, metres, radians, milliseconds.
"""

from __future__ import annotations

import configparser
import json
import pathlib
import shutil
import struct
import subprocess

import numpy as np
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

SIZES = {"2K": (2208, 1242), "FHD": (1920, 1080), "HD": (1280, 720), "VGA": (672, 376)}
MCAP_MAGIC = b"\x89MCAP0\r\n"

# -------------------------------------------------------------------------------- calibration files


class Conf:
    """One factory file: lenses per mode and eye, the rotation and the way between the eyes."""

    def __init__(self, path: pathlib.Path):
        parser = configparser.ConfigParser()  # option names are case-insensitive by default
        parser.read_string(path.read_text())
        self.sections = {
            name.upper(): {key: float(value) for key, value in parser[name].items()}
            for name in parser.sections()
        }
        self.serial = path.stem.removeprefix("SN")
        self.is_fisheye = "p1" not in self.sections["LEFT_CAM_HD"]
        stereo = self.sections["STEREO"]
        self.way_m = np.array([stereo["baseline"], stereo["ty"], stereo["tz"]]) / 1000

    def rotation(self, mode: str) -> Rotation:
        """x_right = R x_left + T."""
        stereo, mode = self.sections["STEREO"], mode.lower()
        return Rotation.from_rotvec([stereo[f"{axis}_{mode}"] for axis in ("rx", "cv", "rz")])

    def lens(self, mode: str, eye: str) -> dict[str, float]:
        return self.sections[f"{eye}_CAM_{mode}"]

    def distorted_px(self, lens: dict[str, float], rays: np.ndarray) -> np.ndarray:
        """Raw pixels [..., 2] of rays [..., 3], by the forward lens model."""
        x, y = rays[..., 0] / rays[..., 2], rays[..., 1] / rays[..., 2]
        r2 = x * x + y * y
        if self.is_fisheye:
            r = np.sqrt(r2)
            theta = np.arctan(r)
            powers = sum(lens[f"k{i}"] * theta ** (2 * i) for i in range(1, 5))
            scale = np.where(r > 0, theta * (1 + powers) / np.where(r > 0, r, 1), 1)
            x, y = scale * x, scale * y
        else:
            radial = 1 + r2 * (lens["k1"] + r2 * (lens["k2"] + r2 * lens["k3"]))
            p1, p2 = lens["p1"], lens["p2"]
            x, y = (
                x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
            )
        return np.stack([lens["fx"] * x + lens["cx"], lens["fy"] * y + lens["cy"]], axis=-1)

    def rectified(self, mode: str) -> tuple[float, float, float]:
        """(f, cx, cy): Bouguet's rotations, then the smallest f that shows no unseen pixel."""
        width, height = SIZES[mode]
        turn = self.rotation(mode)
        half = Rotation.from_rotvec(turn.as_rotvec() / 2)
        way = half.inv().apply(self.way_m)
        way *= np.sign(way[0]) / np.linalg.norm(way)
        axis = np.cross(way, [1, 0, 0])
        sine = np.linalg.norm(axis)
        level = Rotation.from_rotvec(axis / sine * np.arctan2(sine, way[0]))
        rect_from_eye = {"LEFT": level * half, "RIGHT": level * half.inv()}
        lenses = {eye: self.lens(mode, eye) for eye in rect_from_eye}
        cx = (lenses["LEFT"]["cx"] + lenses["RIGHT"]["cx"]) / 2
        cy = (lenses["LEFT"]["cy"] + lenses["RIGHT"]["cy"]) / 2

        u, v = np.arange(width, dtype=float), np.arange(height, dtype=float)
        border = np.concatenate(
            [np.stack([u, np.full_like(u, row)], axis=1) for row in (0, height - 1)]
            + [np.stack([np.full_like(v, column), v], axis=1) for column in (0, width - 1)]
        )

        def sees_all(f: float) -> bool:
            rays = np.column_stack([(border - [cx, cy]) / f, np.ones(len(border))])
            raw = [
                self.distorted_px(lenses[eye], rect_from_eye[eye].inv().apply(rays))
                for eye in rect_from_eye
            ]
            return all((px >= 0).all() and (px <= [width - 1, height - 1]).all() for px in raw)

        low, high = 0.3 * width, 1.2 * width
        assert sees_all(high) and not sees_all(low)
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (low, middle) if sees_all(middle) else (middle, high)
        return high, cx, cy


# -------------------------------------------------------------------------------------------- video


def have_ffmpeg() -> bool:
    return bool(shutil.which("ffmpeg") and shutil.which("ffprobe"))


def ffmpeg(*args) -> bytes:
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-threads", "1", *map(str, args)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def probe(path: pathlib.Path) -> dict:
    """The only stream: codec_name, width, height, pix_fmt, nb_read_packets, …"""
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-count_packets", "-show_streams", "-of", "json", str(path)],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    (stream,) = json.loads(done.stdout)["streams"]
    return stream


def decode(path: pathlib.Path, pixels: str = "gray") -> np.ndarray:
    """Every stored frame once, [F, H, W]."""
    stream = probe(path)
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", pixels, "-")
    dtype = np.dtype("<u2") if pixels == "gray16le" else np.dtype("u1")
    return np.frombuffer(raw, dtype).reshape(-1, stream["height"], stream["width"])


def left_half_of(source: pathlib.Path, to: pathlib.Path) -> None:
    ffmpeg("-i", source, "-vf", "crop=iw/2:ih:0:0", "-c:v", "mpeg4", "-q:v", 4, to)


def write_mp4(path: pathlib.Path, frames: np.ndarray, codec: str = "mpeg4", *options) -> None:
    """gray frames [F, H, W] -> a video file of ffmpeg's making."""
    height, width = frames.shape[1:]
    video = ["-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}", "-r", 60, "-i", "-"]
    quality = ["-q:v", 2] if codec == "mpeg4" else []
    subprocess.run(
        ["ffmpeg", "-v", "error", *map(str, video), "-c:v", codec, *map(str, quality)]
        + ["-pix_fmt", "yuv420p", "-threads", "1", *map(str, options), "-y", str(path)],
        input=np.ascontiguousarray(frames).tobytes(),
        check=True,
        timeout=60,
    )


def svo1(frames: np.ndarray, folder: pathlib.Path) -> bytes:
    """What is known of an SVO of version 1: a header, then Annex-B units between unknown bytes."""
    stream = folder / "stream.h265"
    quiet = ["-preset", "ultrafast", "-x265-params", "log-level=none:pools=none"]
    write_mp4(stream, frames, "libx265", *quiet)
    height, width = frames.shape[1:]
    return struct.pack("<iII", -11, width // 2, height) + b"\x55" * 52 + stream.read_bytes()


def warp_error(
    left: np.ndarray, right: np.ndarray, depth_mm: np.ndarray, fx_px: float, baseline_m: float
) -> float:
    """Median difference, in gray levels, of the left picture and the right one warped by the depth.

    The median, because what one eye alone sees fits under no depth."""
    rows, columns = np.nonzero(depth_mm)
    rows, columns = rows[::7], columns[::7]  # enough, and fast
    disparity = fx_px * baseline_m / (depth_mm[rows, columns] / 1000)
    seen = columns - disparity >= 0
    rows, columns, disparity = rows[seen], columns[seen], disparity[seen]
    warped = map_coordinates(right.astype(np.float32), [rows, columns - disparity], order=1)
    return float(np.median(np.abs(left[rows, columns].astype(np.float32) - warped)))
