"""Depth: of pairs of pictures, of recordings, of episodes; scores; files. NumPy is the oracle."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import re
import struct
import subprocess
import tempfile
import zlib

import conftest
import numpy as np
import pytest
import scipy.ndimage
from recordings_reference import decode, probe, write_mp4
from test_recordings import film

PAIRS = ("cones", "teddy", "tsukuba", "venus")
EYE_ROW_SHIFTS_PX = (0.5, 1.0, 3.0)

# ------------------------------------------------------------------------ files, a second time


def read_pfm(path: pathlib.Path) -> np.ndarray:
    """Top-down; infinity where the file has it."""
    magic, size, scale, data = path.read_bytes().split(b"\n", 3)
    assert magic == b"Pf"
    width, height = map(int, size.split())
    kind = "<f4" if float(scale) < 0 else ">f4"
    return np.frombuffer(data, kind).reshape(height, width)[::-1].astype(np.float64)


def write_pfm(path: pathlib.Path, values: np.ndarray) -> None:
    head = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.0\n".encode()
    path.write_bytes(head + values[::-1].astype("<f4").tobytes())


def write_png(path: pathlib.Path, pixels: np.ndarray) -> None:
    """[H,W] of uint8 or uint16, or [H,W,3] of uint8."""
    color = {2: 0, 3: 2}[pixels.ndim]
    depth = pixels.dtype.itemsize * 8
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    data = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, color, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )


def read_png(path: pathlib.Path) -> np.ndarray:
    """[H,W] or [H,W,3] of 8 or 16 bits, as PNG's specification has it."""
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, body, head = 8, b"", b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        head = chunk if name == b"IHDR" else head
        body += chunk if name == b"IDAT" else b""
        at += 12 + size
    width, height, depth, color = struct.unpack(">IIBB", head[:10])
    channels = {0: 1, 2: 3}[color]
    pixel = channels * depth // 8
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(height, 1 + width * pixel)
    rows = np.zeros((height, width * pixel), np.uint8)
    for y, line in enumerate(lines):
        rows[y] = unfilter(line[0], line[1:], rows[y - 1] if y else np.zeros_like(rows[0]), pixel)
    pixels = rows.view(">u2").astype(np.uint16) if depth == 16 else rows
    return pixels.reshape((height, width) if channels == 1 else (height, width, channels))


def unfilter(kind: int, line: np.ndarray, above: np.ndarray, pixel: int) -> np.ndarray:
    if kind == 0:
        return line
    if kind == 1:  # each byte modulo 256, from the pixel before
        columns = line.reshape(-1, pixel).astype(np.uint64)
        return (np.cumsum(columns, axis=0) % 256).astype(np.uint8).ravel()
    if kind == 2:
        return line + above
    raise AssertionError(f"filter {kind}: want one of none, sub, up")


def read_map(path: pathlib.Path, png_scale: float) -> np.ndarray:
    """NaN: no value."""
    if path.suffix == ".npy":
        values = np.load(path)
        assert values.dtype == np.dtype("<f4") and values.ndim == 2
        return values.astype(np.float64)
    if path.suffix == ".pfm":
        values = read_pfm(path)
        return np.where(np.isinf(values), np.nan, values)
    stored = read_png(path)
    assert stored.dtype == np.uint16
    return np.where(stored == 0, np.nan, stored / png_scale)


# ------------------------------------------------------------------------- scores, a second time


def errors(result: np.ndarray, truth: np.ndarray) -> dict:
    """-1: a pixel of a row that has no value at all, which is bad, and off by all of the truth."""
    empty = result == -1
    off = np.where(empty, truth, np.abs(result - truth))
    bad = {f"bad{t}": 100 * np.mean(empty | (off > t)) for t in (1, 2, 4)}
    return {**bad, "avg_px": np.mean(off)}


def score(result: np.ndarray, truth: np.ndarray, mask: np.ndarray | None) -> dict:
    """NaN: no value."""
    counts = ~np.isnan(truth) & (True if mask is None else mask == 255)
    filled = result.copy()
    columns = np.arange(result.shape[1])
    for y in range(result.shape[0]):
        there = columns[~np.isnan(result[y])]
        for x in columns[np.isnan(result[y])]:
            neighbours = [there[there < x][-1:], there[there > x][:1]]
            filled[y, x] = min((result[y, i[0]] for i in neighbours if len(i)), default=-1)
    has = counts & ~np.isnan(result)
    return {
        "pixels": int(counts.sum()),
        "density": 100 * has.sum() / counts.sum(),
        "valid": errors(result[has], truth[has]),
        "dense": errors(filled[counts], truth[counts]),
    }


def flat(scores: dict) -> dict:
    return {
        key if inner is None else f"{key}.{inner}": value
        for key, part in scores.items()
        for inner, value in (part.items() if isinstance(part, dict) else [(None, part)])
    }


# -------------------------------------------------------------------------------------- fixtures


@pytest.fixture(scope="session")
def stereo(shared) -> pathlib.Path:
    return shared / "data/stereo"


@pytest.fixture(scope="session")
def backend(droidflow) -> str:
    """One that matches here; of several the one that is the fastest to test with."""
    (finding,) = [f for f in droidflow.json("doctor") if f["subject"] == "depth"]
    here = re.search(r"backends (.*);", finding["found"])[1].split(", ")
    wanted = os.environ.get("DROIDFLOW_TEST_BACKEND")
    for name in [wanted] if wanted else ["cpu", "opencv"]:
        if name in here and works(droidflow, name):
            return name
    conftest._unavailable(f"none of the backends matches here: {here}")


@functools.cache
def works(droidflow, name: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / "a.png"
        write_png(picture, np.zeros((8, 8), np.uint8))
        out = pathlib.Path(folder) / "o.pfm"
        flags = ["--backend", name, "--out", out]
        return droidflow("depth", "--input", picture, picture, *flags).returncode == 0


@pytest.fixture(scope="session")
def matched(droidflow, stereo, backend, tmp_path_factory):
    """matched(pair, suffix, *flags) -> the disparities of a pair, made once."""

    @functools.cache
    def make(name: str, suffix: str, *flags) -> pathlib.Path:
        folder = stereo / name
        out = tmp_path_factory.mktemp("matched") / f"{name}{suffix}"
        ndisp = json.loads((folder / "meta.json").read_text())["ndisp"]
        pair = ["--input", folder / "left.png", folder / "right.png", "--max-disparity", ndisp]
        droidflow("depth", *pair, "--backend", backend, "--out", out, *flags, code=0)
        return out

    return make


@pytest.fixture(scope="session")
def truth(stereo):
    def read(name: str) -> tuple[np.ndarray, np.ndarray]:
        values = read_pfm(stereo / name / "gt.pfm")
        return np.where(np.isinf(values), np.nan, values), read_png(stereo / name / "nonocc.png")

    return read


@pytest.fixture(scope="session")
def recording(ffmpeg, tmp_path_factory) -> pathlib.Path:
    """A small stereo MP4 of noise that is 6 pixels farther to the left on the right."""
    rng = np.random.default_rng(8)
    frames = []
    for _ in range(5):
        wide = np.kron(rng.integers(0, 256, (12, 38)), np.ones((4, 4))).astype(np.uint8)
        frames.append(np.hstack([wide[:, :144], wide[:, 6:150]]))
    path = tmp_path_factory.mktemp("recording") / "22008760-stereo.mp4"
    write_mp4(path, np.stack(frames), "mpeg4")
    return path


CAMERA = ["--fx", 200, "--baseline", 0.06]  # 6 px: 2 m
SMALL = [*CAMERA, "--max-disparity", 16]


def frames_of(mkv: pathlib.Path) -> np.ndarray:
    """[F,H,W] uint16, by plain ffmpeg."""
    info = probe(mkv)
    assert (info["codec_name"], info["pix_fmt"]) == ("ffv1", "gray16le")
    return decode(mkv, "gray16le")


# -------------------------------------------------------------------------------- pairs of pictures


@pytest.mark.parametrize("name", PAIRS)
def test_all_formats_hold_the_same_disparities(matched, name):
    values = {suffix: read_map(matched(name, suffix), 64) for suffix in (".pfm", ".npy", ".png")}
    assert np.isnan(values[".npy"]).any() and (values[".npy"] >= 0)[~np.isnan(values[".npy"])].all()
    np.testing.assert_array_equal(values[".pfm"], values[".npy"])
    # A disparity of 0 is none in a PNG.
    np.testing.assert_array_equal(
        np.where(values[".npy"] == 0, np.nan, values[".npy"]), values[".png"]
    )
    # Sixteenths of a pixel.
    valid = values[".npy"][~np.isnan(values[".npy"])]
    np.testing.assert_array_equal(valid * 16, np.round(valid * 16))


@pytest.mark.parametrize("suffix", [".pfm", ".npy", ".png"])
def test_depth_is_focal_length_times_baseline_by_disparity(matched, suffix):
    fx, baseline, least, most = 700.5, 0.063, 0.8, 3.0
    disparity = read_map(matched("cones", ".npy"), 64)
    range_m = ["--min-depth", least, "--max-depth", most]
    camera = ["--fx", fx, "--baseline", baseline]
    depth = read_map(matched("cones", suffix, *camera, *range_m), 1000)
    with np.errstate(divide="ignore"):
        wanted = fx * baseline / disparity
    stored = np.floor(wanted * 1000 + 0.5)
    wanted = np.where((stored >= 1000 * least) & (stored <= 1000 * most), wanted, np.nan)
    assert 0.05 < np.mean(np.isnan(wanted)) < 0.95
    np.testing.assert_array_equal(np.isnan(depth), np.isnan(wanted))
    np.testing.assert_allclose(depth, wanted, atol=0.000501 if suffix == ".png" else 0, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_most_disparities_are_right(matched, truth, name):
    result = score(read_map(matched(name, ".pfm"), 64), *truth(name))
    assert result["density"] > 90
    assert result["valid"]["bad2"] < 6 and result["dense"]["bad2"] < 10, result


def test_the_left_columns_have_disparities_too(matched, truth):
    result = read_map(matched("venus", ".pfm"), 64)
    disparity, _ = truth("venus")
    # What lies farther to the left than the right picture reaches has no partner.
    has_partner = disparity[:, :20] <= np.arange(20)
    assert np.mean(has_partner) > 0.2
    assert np.mean(~np.isnan(result[:, :20])[has_partner]) > 0.8


@pytest.mark.parametrize("shift_px", EYE_ROW_SHIFTS_PX)
def test_a_row_offset_is_taken_out(droidflow, stereo, backend, matched, truth, tmp_path, shift_px):
    name = "cones"
    gray = to_gray(read_png(stereo / name / "right.png"))
    lower = scipy.ndimage.shift(gray.astype(np.float64), (shift_px, 0), order=3, mode="nearest")
    right, left = tmp_path / "right.png", tmp_path / "left.png"
    write_png(right, np.clip(np.round(lower), 0, 255).astype(np.uint8))
    write_png(left, to_gray(read_png(stereo / name / "left.png")))
    pair = ["--input", left, right, "--max-disparity", 64, "--backend", backend]
    out = tmp_path / "o.pfm"
    report = droidflow.json("depth", *pair, "--out", out)
    assert report["rows"]["removed_px"] == pytest.approx(shift_px, abs=0.25)
    aligned = score(read_map(out, 64), *truth(name))["dense"]["bad2"]
    droidflow("depth", *pair, "--out", out, "--row-align", "off", code=0)
    left_alone = score(read_map(out, 64), *truth(name))["dense"]["bad2"]
    undisturbed = score(read_map(matched(name, ".pfm"), 64), *truth(name))["dense"]["bad2"]
    assert aligned <= 1.2 * undisturbed
    assert left_alone > (1.1 if shift_px >= 1 else 0.9) * aligned


def to_gray(color: np.ndarray) -> np.ndarray:
    r, g, b = np.moveaxis(color.astype(np.int64), -1, 0)
    return ((77 * r + 150 * g + 29 * b) // 256).astype(np.uint8)


def test_colour_becomes_bt601_gray_and_is_said(droidflow, stereo, backend, matched, tmp_path):
    folder = stereo / "cones"
    for eye in ("left", "right"):
        write_png(tmp_path / f"{eye}.png", to_gray(read_png(folder / f"{eye}.png")))
    out = tmp_path / "o.npy"
    pair = [tmp_path / "left.png", tmp_path / "right.png"]
    flags = ["--max-disparity", 64, "--backend", backend, "--out", out]
    gray = droidflow("depth", "--input", *pair, *flags, code=0)
    assert "gray" not in gray.stderr
    np.testing.assert_array_equal(np.load(out), np.load(matched("cones", ".npy")))
    color = droidflow("depth", "--input", folder / "left.png", pair[1], *flags, code=0)
    assert f"8-bit colour is made 8-bit gray: {folder / 'left.png'}" in color.stderr


def test_16_bits_become_the_upper_8_and_that_is_said(droidflow, stereo, backend, matched, tmp_path):
    for eye in ("left", "right"):
        gray = to_gray(read_png(stereo / "cones" / f"{eye}.png")).astype(np.uint16)
        write_png(tmp_path / f"{eye}.png", gray << 8 | 0x7F)
    out = tmp_path / "o.npy"
    pair = [tmp_path / "left.png", tmp_path / "right.png"]
    flags = ["--max-disparity", 64, "--backend", backend, "--out", out]
    done = droidflow("depth", "--input", *pair, *flags, code=0)
    assert done.stderr.count("16-bit gray is made 8-bit gray") == 2
    np.testing.assert_array_equal(np.load(out), np.load(matched("cones", ".npy")))


def test_jpeg_and_pgm_are_read(droidflow, ffmpeg, stereo, backend, tmp_path):
    for suffix in ("jpg", "pgm"):
        for eye in ("left", "right"):
            source = stereo / "venus" / f"{eye}.png"
            to = tmp_path / f"{eye}.{suffix}"
            command = ["ffmpeg", "-v", "error", "-i", source, "-q:v", "1", "-pix_fmt"]
            subprocess.run([*command, {"jpg": "yuvj444p", "pgm": "gray"}[suffix], to], check=True)
        pair = [tmp_path / f"left.{suffix}", tmp_path / f"right.{suffix}"]
        out = tmp_path / "o.pfm"
        droidflow("depth", "--input", *pair, "--backend", backend, "--out", out, code=0)
        assert np.isfinite(read_pfm(out)).mean() > 0.5


# ------------------------------------------------------------------------------------------- scores


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("suffix", [".pfm", ".png"])
@pytest.mark.parametrize("masked", [True, False])
def test_scores_are_numpys(droidflow, stereo, matched, truth, name, suffix, masked):
    values, mask = truth(name)
    if suffix == ".png":
        stored = read_png(stereo / name / "gt64.png")
        values = np.where(stored == 0, np.nan, stored / 64)
    path = stereo / name / {".pfm": "gt.pfm", ".png": "gt64.png"}[suffix]
    flags = ["--mask", stereo / name / "nonocc.png"] if masked else []
    given = droidflow.json("depth-eval", matched(name, suffix), path, *flags)
    wanted = score(read_map(matched(name, suffix), 64), values, mask if masked else None)
    assert flat(given) == pytest.approx(flat(wanted), abs=1e-6)


def test_scores_worked_by_hand(droidflow, tmp_path):
    result, truth = tmp_path / "r.pfm", tmp_path / "t.npy"
    inf, nan = np.inf, np.nan
    write_pfm(result, np.array([[inf, 4, inf, 9, 9, inf, inf, 6], [inf] * 8]))
    np.save(truth, np.array([[9, 4, 4.5, 9, 9, 9, 7, 6], [8] + [nan] * 7], np.float32))
    given = droidflow.json("depth-eval", result, truth)
    assert given["pixels"] == 9
    assert given["density"] == pytest.approx(100 * 4 / 9)
    assert given["valid"] == {"bad1": 0, "bad2": 0, "bad4": 0, "avg_px": 0}
    # Off by 5, 0, 0.5, 0, 0, 3, 1, 0, and by all of 8 in the empty row.
    wanted = {"bad1": 300 / 9, "bad2": 300 / 9, "bad4": 200 / 9, "avg_px": 17.5 / 9}
    assert given["dense"] == pytest.approx(wanted)


def test_scores_are_printed_as_a_table(droidflow, stereo, matched):
    folder = stereo / "cones"
    lines = droidflow("depth-eval", matched("cones", ".pfm"), folder / "gt.pfm", code=0).stdout
    assert "BAD2" in lines and "valid" in lines and "dense" in lines


# --------------------------------------------------------------------------------------- recordings


@pytest.fixture(scope="session")
def video(droidflow, backend, recording, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("video") / "depth.mkv"
    droidflow("depth", "--input", recording, *SMALL, "--backend", backend, "--out", out, code=0)
    return out


def test_the_video_holds_the_depth_that_was_seen(video):
    frames = frames_of(video)
    assert frames.shape == (5, 48, 144)
    inner = frames[:, 8:-8, 24:-24].astype(float)
    assert np.median(inner[inner > 0]) == pytest.approx(2000, rel=0.03)


@pytest.mark.parametrize("suffix", ["png", "pfm", "npy"])
def test_video_and_pictures_hold_the_same(
    droidflow, backend, recording, video, tmp_path, suffix
):
    pattern = tmp_path / f"frames/%04d.{suffix}"
    droidflow("depth", "--input", recording, *SMALL, "--backend", backend, "--out", pattern, code=0)
    files = sorted((tmp_path / "frames").glob(f"*.{suffix}"))
    assert [f.stem for f in files] == ["0000", "0001", "0002", "0003", "0004"]
    metres = np.stack([read_map(f, 1000) for f in files])
    np.testing.assert_array_equal(np.nan_to_num(np.round(metres * 1000)), frames_of(video))
    meta = json.loads((tmp_path / "frames/depth_meta.json").read_text())
    assert meta["codec"] == suffix and meta["frame_count"] == 5 and meta["sha256"] is None
    assert meta["scale"] == (1000.0 if suffix == "png" else 1.0)


def test_the_number_of_threads_does_not_show(droidflow, backend, recording, video, tmp_path):
    for jobs in (2, 3):
        out = tmp_path / f"{jobs}.mkv"
        flags = ["--backend", backend, "--jobs", jobs, "--decode-threads", 2, "--out", out]
        droidflow("depth", "--input", recording, *SMALL, *flags, code=0)
        assert out.read_bytes() == video.read_bytes()


def test_the_description_is_complete(video, backend):
    meta = json.loads((video.parent / "depth_meta.json").read_text())
    frames = frames_of(video)
    wanted = {
        "codec": "ffv1",
        "pix_fmt": "gray16le",
        "scale": 1000.0,
        "invalid_value": 0,
        "width": 144,
        "height": 48,
        "frame_count": 5,
        "min_depth_m": 0.2,
        "max_depth_m": 10.0,
        "backend": backend,
        "fx": 200.0,
        "baseline_m": 0.06,
        "step_to_frame": None,
        "frame_to_step": None,
        "timestamps_ms": None,
        "sha256": hashlib.sha256(video.read_bytes()).hexdigest(),
    }
    assert {key: meta[key] for key in wanted} == wanted
    assert meta["backend_parameters"]["max_disparity"] == 16
    assert meta["valid_fraction"] == pytest.approx(np.mean(frames > 0), abs=1e-12)


def test_an_svo2_is_rectified_by_its_calibration_file(droidflow, shared, backend, tmp_path):
    svo2 = shared / "data/svo2/h264_none.svo2"
    out = tmp_path / "depth.mkv"
    input_flags = ["--input", svo2, "--out", out, "--backend", backend]
    refused = droidflow("depth", *input_flags, code=2)
    assert "--conf" in refused.stderr and str(svo2) in refused.stderr
    conf = shared / "data/zed_conf/SN29838012.conf"
    droidflow("depth", *input_flags, "--conf", conf, code=0)
    meta = json.loads((tmp_path / "depth_meta.json").read_text())
    assert (meta["width"], meta["height"], meta["frame_count"]) == (672, 376, 24)
    assert meta["fx"] == pytest.approx(523.223 / 2, rel=0.01)
    assert meta["baseline_m"] == pytest.approx(0.12, abs=0.002)
    assert meta["serial"] == "29838012"
    assert len(meta["timestamps_ms"]) == 24 and meta["timestamps_ms"][0] > 1.6e12
    times_s = [float(t) for t in packet_times(out)]
    steps_ms = np.diff(meta["timestamps_ms"])
    np.testing.assert_allclose(np.cumsum(steps_ms), np.array(times_s[1:]) * 1000, atol=0.501)
    assert meta["warnings"] == []
    other = shared / "data/zed_conf/SN11744905.conf"
    flags = [*input_flags, "--conf", other, "--preset", "fast", "--json"]
    done = droidflow("depth", *flags, code=0)
    wanted = (
        "the recording is of camera 29838012, the calibration file of camera 11744905: "
        "SN11744905.conf"
    )
    assert f"warning: {svo2}: {wanted}\n" in done.stderr
    assert json.loads(done.stdout)["warnings"] == [wanted]
    assert json.loads((tmp_path / "depth_meta.json").read_text())["warnings"] == [wanted]


def packet_times(path: pathlib.Path) -> list[str]:
    command = ["ffprobe", "-v", "error", "-show_entries", "packet=pts_time", "-of", "csv=p=0", path]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("start_s", [0, 5])
def test_an_mp4s_own_times_are_kept(droidflow, ffmpeg, backend, recording, tmp_path, start_s):
    uneven = tmp_path / "uneven.mp4"
    times = "if(lt(N,3),N*0.1,0.2+(N-2)/30)/TB"
    command = ["ffmpeg", "-v", "error", "-i", recording, "-vf", f"setpts='{times}'"]
    offset = ["-fps_mode", "passthrough", "-output_ts_offset", str(start_s)]
    codec = ["-enc_time_base", "1/90000", "-c:v", "libx264", "-bf", "2"]  # frames out of order
    subprocess.run([*command, *offset, *codec, uneven], check=True)
    shown = sorted(float(t) for t in packet_times(uneven))
    assert shown == pytest.approx([start_s + t for t in (0, 0.1, 0.2, 0.23333, 0.26667)], abs=1e-3)
    out = tmp_path / "depth.mkv"
    flags = [*SMALL, "--preset", "fast", "--backend", backend, "--out", out]
    droidflow("depth", "--input", uneven, *flags, code=0)
    assert [float(t) for t in packet_times(out)] == pytest.approx(shown, abs=0.000501)
    assert json.loads((tmp_path / "depth_meta.json").read_text())["timestamps_ms"] is None


# --------------------------------------------------------------- maps that another program has made


def test_external_depth_is_bit_exact(droidflow, recording, tmp_path):
    rng = np.random.default_rng(4)
    maps = tmp_path / "maps"
    maps.mkdir()
    frames = rng.integers(200, 10001, (5, 48, 144)).astype(np.uint16)
    frames[rng.random(frames.shape) < 0.3] = 0
    for i, frame in enumerate(frames):
        write_png(maps / f"depth_{i:03}.png", frame)
    out = tmp_path / "depth.mkv"
    flags = ["--backend", f"external:{maps}", "--external-unit", "depth"]
    droidflow("depth", "--input", recording, *CAMERA, *flags, "--out", out, code=0)
    np.testing.assert_array_equal(frames_of(out), frames)
    meta = json.loads((tmp_path / "depth_meta.json").read_text())
    assert (meta["backend"], meta["backend_parameters"]) == ("external", {"unit": "depth"})


def test_external_disparities_become_depth_and_gaps_are_counted(droidflow, recording, tmp_path):
    rng = np.random.default_rng(5)
    maps = tmp_path / "maps"
    maps.mkdir()
    disparity = rng.uniform(0.5, 70, (5, 48, 144)).astype(np.float32)
    write_pfm(maps / "0.pfm", disparity[0])
    np.save(maps / "1.npy", disparity[1])
    png = np.round(disparity[3] * 64).astype(np.uint16)
    write_png(maps / "3.png", png)
    out = tmp_path / "depth.mkv"
    flags = [*CAMERA, "--backend", f"external:{maps}", "--out", out]
    done = droidflow("depth", "--input", recording, *flags, code=0)
    assert "2 frames have no depth: there is no map" in done.stderr
    frames = frames_of(out)
    for i, values in ((0, disparity[0]), (1, disparity[1]), (3, png / 64)):
        wanted = np.floor(200 * 0.06 * 1000 / values.astype(np.float64) + 0.5)
        wanted[(wanted < 200) | (wanted > 10000)] = 0
        np.testing.assert_array_equal(frames[i], wanted)
    assert not frames[[2, 4]].any()
    meta = json.loads((tmp_path / "depth_meta.json").read_text())
    assert meta["missing_frames"] == [2, 4]


def test_a_folder_without_maps_is_no_video_of_nothing(droidflow, recording, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    (maps / "notes.txt").write_text("none")
    out = tmp_path / "depth.mkv"
    flags = ["--input", recording, *CAMERA, "--backend", f"external:{maps}", "--out", out]
    done = droidflow("depth", *flags, code=10)
    assert "as 000000.png, .pfm or .npy, have 0 maps" in done.stderr and not out.exists()


@pytest.mark.parametrize("name", ["l.npy", "any.npy", "000000.npy"])
def test_an_external_map_of_a_pair(droidflow, gray, tmp_path, name):
    maps = tmp_path / "maps"
    maps.mkdir()
    disparity = np.random.default_rng(6).uniform(0.5, 70, (24, 40)).astype(np.float32)
    disparity[3, :5] = np.nan
    np.save(maps / name, disparity)
    if name != "any.npy":
        np.save(maps / "000007.npy", np.ones((24, 40), np.float32))
    out = tmp_path / "o.npy"
    pair = ["--input", gray / "l.png", gray / "r.png", "--backend", f"external:{maps}"]
    report = droidflow.json("depth", *pair, "--out", out)
    np.testing.assert_array_equal(np.load(out), disparity)
    assert report["kind"] == "disparity" and report["valid_fraction"] == 1 - 5 / 960
    assert report["backend_parameters"] == {"unit": "disparity"}
    assert droidflow.json("depth", *pair, *CAMERA, "--out", out)["kind"] == "depth"
    metres = 200 * 0.06 / disparity.astype(np.float64)
    stored = np.floor(metres * 1000 + 0.5)
    metres[~((stored >= 200) & (stored <= 10000))] = np.nan
    np.testing.assert_allclose(np.load(out), metres, rtol=1e-6)
    pair += ["--external-unit", "depth"]
    droidflow("depth", *pair, *CAMERA, "--out", out, code=0)
    wanted = np.where((disparity >= 0.1995) & (disparity <= 10.0005), disparity, np.nan)
    np.testing.assert_array_equal(np.load(out), wanted)
    done = droidflow("depth", *pair, "--out", out, code=2)
    assert "want --fx and --baseline with a map of depth" in done.stderr
    np.save(maps / name, disparity[:, 1:])
    done = droidflow("depth", *pair, *CAMERA, "--out", out, code=2)
    assert "want a map of 40x24, as the pictures, have 39x24" in done.stderr


def test_external_maps_that_do_not_fit_are_named(droidflow, recording, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    out = tmp_path / "depth.mkv"
    flags = ["--input", recording, *CAMERA, "--backend", f"external:{maps}", "--out", out]
    np.save(maps / "5.npy", np.ones((48, 144), np.float32))
    done = droidflow("depth", *flags, code=1)
    assert "want maps of frames 0 … 4, have one of frame 5" in done.stderr
    (maps / "5.npy").rename(maps / "4.npy")
    np.save(maps / "0.npy", np.ones((48, 143), np.float32))
    done = droidflow("depth", *flags, code=1)
    assert "want a map of 144x48, as the recording, have 143x48" in done.stderr
    assert not out.exists() and list(tmp_path.iterdir()) == [maps]


# ------------------------------------------------------------------------------------------ episodes


@pytest.fixture(scope="session")
def filmed(droidflow, tmp_path_factory):
    return film(droidflow, tmp_path_factory.mktemp("film") / "stereo", "stereo", steps=4, seed=3)


@pytest.fixture(scope="session")
def episode(droidflow, filmed, backend, tmp_path_factory) -> pathlib.Path:
    """The output folder of an episode's depth."""
    out = tmp_path_factory.mktemp("episode") / "out"
    flags = ["--backend", backend, "--out", out]
    inputs = ["--episode-id", filmed.episode, *filmed.data.inputs]
    droidflow("depth", *inputs, *flags, code=0, timeout=300)
    return out / filmed.episode


def test_an_episodes_depth_is_near_the_truth(episode, filmed, ffmpeg):
    for serial in filmed.serials():
        frames = frames_of(episode / "recordings" / serial / "depth.mkv").astype(float)
        truth = frames_of(next(filmed.truth.rglob(f"{serial}/depth.mkv"))).astype(float)
        assert frames.shape[0] in (truth.shape[0], truth.shape[0] - 1)
        truth = truth[: len(frames)]
        both = (frames > 0) & (truth > 0)
        assert both.mean() > 0.4
        off = np.abs(frames - truth)[both] / truth[both]
        assert np.median(off) <= 0.01, serial


def test_an_episodes_description_says_which_frame_shows_which_step(episode, filmed):
    for serial in filmed.serials():
        folder = episode / "recordings" / serial
        assert sorted(p.name for p in folder.iterdir()) == ["depth.mkv", "depth_meta.json"]
        meta = json.loads((folder / "depth_meta.json").read_text())
        steps = meta["step_to_frame"]
        assert len(steps) == 4 and len(meta["frame_to_step"]) == meta["frame_count"]
        for frame, step in enumerate(meta["frame_to_step"]):
            assert step == (steps.index(frame) if frame in steps else -1)
        assert meta["serial"] == serial
        assert meta["recording"] == f"recordings/MP4/{serial}-stereo.mp4"
        digest = hashlib.sha256((folder / "depth.mkv").read_bytes()).hexdigest()
        assert meta["sha256"] == digest


def test_cameras_are_chosen_by_serial_or_role(droidflow, filmed, backend, tmp_path):
    ext1, ext2, wrist = filmed.serials()
    inputs = ["--episode-id", filmed.episode, *filmed.data.inputs, "--backend", backend]
    report = droidflow.json("depth", *inputs, "--out", tmp_path / "o", "--cameras", f"wrist,{ext2}")
    assert {c["serial"] for c in report["cameras"]} == {wrist, ext2}
    done = droidflow("depth", *inputs, "--out", tmp_path / "o", "--cameras", "1234", code=10)
    assert "no camera 1234" in done.stderr


def test_a_camera_with_one_eye_has_no_depth_and_that_is_said(
    droidflow, filmed, backend, tmp_path
):
    copy = conftest.copy_dataset(filmed.data, tmp_path / "copy")
    ext1, ext2, wrist = filmed.serials()
    recordings = copy.raw / filmed.episode / "recordings/MP4"
    (recordings / f"{ext1}-stereo.mp4").unlink()
    (recordings / f"{ext2}-stereo.mp4").write_bytes(b"")
    (recordings / f"{ext2}.mp4").unlink()
    inputs = ["--episode-id", filmed.episode, *copy.inputs, "--backend", backend]
    flags = ["--out", tmp_path / "o", "--json"]
    report = json.loads(droidflow("depth", *inputs, *flags, code=3).stdout)
    by_serial = {c["serial"]: c for c in report["cameras"]}
    assert by_serial[wrist]["depth"]["frames"] > 0
    assert by_serial[ext1]["depth"] is None and "one eye" in by_serial[ext1]["reason"]
    assert by_serial[ext2]["depth"] is None and by_serial[ext2]["reason"] == "no recording"
    only = droidflow("depth", *inputs, *flags, "--cameras", ext1, code=3)
    assert f"camera {ext1}: no depth" in only.stderr


def test_depth_of_a_damaged_recording_stays_in_step(
    droidflow, backend, recording, video, tmp_path
):
    """Frames that cannot be decoded keep their place."""
    data = bytearray(recording.read_bytes())
    whole = frames_of(video)
    key = data.find(b"mdat") + 4
    sizes = packet_sizes(recording)
    start = key + sum(sizes[:2])  # the third packet: its beginning makes it a picture
    data[start : start + sizes[2]] = bytes(sizes[2])
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    out = tmp_path / "depth.mkv"
    flags = [*SMALL, "--backend", backend, "--row-align", "off", "--out", out]
    done = droidflow("depth", "--input", damaged, *flags, code=0)
    assert f"{damaged}: 1 frame has no depth: it cannot be decoded\n" in done.stderr
    meta = json.loads((tmp_path / "depth_meta.json").read_text())
    frames = frames_of(out)
    assert len(frames) == meta["frame_count"] == len(whole)
    np.testing.assert_array_equal(frames[:2], whole[:2])
    assert set(meta["missing_frames"]) | set(meta["damaged_frames"]) >= {2}
    for i in meta["missing_frames"]:
        assert not frames[i].any()
    data = bytearray(recording.read_bytes())
    data[start + sizes[2] // 2 : start + sizes[2]] = bytes(sizes[2] - sizes[2] // 2)
    damaged.write_bytes(data)
    done = droidflow("depth", "--input", damaged, *flags, code=0)
    assert done.stderr == f"warning: {damaged}: 1 frame is damaged, the first is 2\n"


def packet_sizes(path: pathlib.Path) -> list[int]:
    command = ["ffprobe", "-v", "error", "-show_entries", "packet=size", "-of", "csv=p=0", path]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(size) for size in printed.split()]


def test_a_dry_run_writes_nothing(droidflow, filmed, backend, tmp_path):
    inputs = ["--episode-id", filmed.episode, *filmed.data.inputs, "--backend", backend]
    done = droidflow("depth", *inputs, "--out", tmp_path / "o", "--dry-run", code=0)
    assert str(filmed.episode) in done.stdout and not (tmp_path / "o").exists()


# --------------------------------------------------------------------------------------- bad input


@pytest.fixture(scope="session")
def gray(tmp_path_factory) -> pathlib.Path:
    """A folder with pictures of 40x24."""
    folder = tmp_path_factory.mktemp("gray")
    rng = np.random.default_rng(2)
    for name in ("l.png", "r.png"):
        write_png(folder / name, rng.integers(0, 256, (24, 40), dtype=np.uint8))
    write_png(folder / "small.png", np.zeros((23, 40), np.uint8))
    (folder / "text.png").write_text("hello")
    (folder / "empty.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    "flags, code, text",
    [
        ("--input l.png r.png --out o.pfm --max-disparity 41", 2, "width of 40, have 41"),
        ("--input l.png r.png --out o.pfm --max-disparity 0", 2, "max disparity"),
        ("--input l.png r.png --out o.pfm --max-disparity 2000", 2, "have 2000"),
        ("--input l.png r.png --out o.pfm --max-disparity x", 2, "--max-disparity: want"),
        ("--input l.png r.png --out o.pfm --max-disparity {empty}", 2, "--max-disparity: want"),
        ("--input l.png r.png --out o.pfm --min-depth {empty}", 2, "--min-depth: want"),
        ("--input l.png r.png --out o.pfm --min-disparity 9 --max-disparity 9", 2, "min disparity"),
        ("--input l.png r.png --out o.pfm --paths 4", 2, "paths: want 5 or 8, have 4"),
        ("--input l.png r.png --out o.pfm --min-depth nan", 2, "--min-depth: want"),
        ("--input l.png r.png --out o.pfm --min-depth 5 --max-depth 4", 2, "have 5 to 4 m"),
        ("--input l.png r.png --out o.pfm --max-depth 66", 2, "65.535"),
        ("--input l.png r.png --out o.pfm --fx 0 --baseline 0.1", 2, "focal length"),
        ("--input l.png r.png --out o.pfm --fx nan --baseline 0.1", 2, "focal length"),
        ("--input l.png r.png --out o.pfm --fx 500 --baseline -1", 2, "baseline"),
        ("--input l.png r.png --out o.pfm --fx 500", 2, "both --fx and --baseline"),
        ("--input l.png r.png --out o.pfm --backend best", 2, "--backend: want auto"),
        ("--input l.png r.png --out o.pfm --backend zed", 2, "SVO and SVO2 recordings only"),
        ("--input l.png r.png --out o.pfm --backend external:nowhere", 10, "nowhere"),
        ("--input l.png r.png --out o.pfm --preset slow", 2, "--preset: want fast"),
        ("--input l.png r.png --out o.pfm --confidence c.jpg", 2, "confidence"),
        ("--input l.png r.png --out o.pfm --conf SN1.conf", 2, "--conf goes with a recording"),
        ("--input l.png r.png --out o.pfm --cameras wrist", 2, "--cameras"),
        ("--input l.png r.png --out o.pfm --jobs 0", 2, "--jobs"),
        ("--input l.png r.png --out o.tiff", 2, "want a file named .pfm, .png or .npy"),
        ("--input l.png r.png --out o.mkv", 2, "want a file named .pfm, .png or .npy"),
        ("--input l.png r.png", 2, "--out is needed"),
        ("--input l.png r.png x.png --out o.pfm", 2, ""),
        ("--out o.pfm", 2, "give --input or --episode-id"),
        ("--input l.png small.png --out o.pfm", 2, "40x24, as the left, have 40x23"),
        ("--input l.png . --out o.pfm", 2, "want a picture, have a folder"),
        ("--input . r.png --out o.pfm", 2, "want a picture, have a folder"),
        ("--input l.png r.png --out o.png --confidence {out}/o.png", 2, "a file of its own"),
        ("--input l.png text.png --out o.pfm", 2, "the file of 5 bytes is none"),
        ("--input empty.png r.png --out o.pfm", 2, "the file of 0 bytes is none"),
        ("--input l.png absent.png --out o.pfm", 10, "absent.png"),
        ("--input l.png --fx 9 --baseline 1 --out o.mkv", 1, "l.png"),
        ("--input absent.mp4 --fx 9 --baseline 1 --out o.mkv", 10, "absent.mp4"),
        ("--input absent.mp4 --fx 9 --baseline 1 --out o.mp4", 2, "want a video named .mkv"),
        ("--input a.mp4 --fx 9 --baseline 1 --backend external:nowhere --out o.mkv", 10, "nowhere"),
    ],
)
def test_what_is_wrong_is_said(droidflow, gray, backend, tmp_path, flags, code, text):
    named = [
        gray / word if re.fullmatch(r"\w+\.(png|mp4)", word) else word.format(out=tmp_path, empty="")
        for word in flags.split()
    ]
    for i, word in enumerate(named):
        if word == "--out":
            named[i + 1] = tmp_path / pathlib.Path(named[i + 1]).name
    chosen = [] if "--backend" in flags else ["--backend", backend]
    done = droidflow("depth", *named, *chosen, code=code)
    assert text in done.stderr and "terminate" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_not_written_over(droidflow, gray, recording, backend, tmp_path):
    before = {path: path.read_bytes() for path in gray.iterdir()}
    pair = ["--input", gray / "l.png", gray / "r.png", "--backend", backend]
    link = tmp_path / "link.png"
    link.symlink_to(gray / "r.png")
    for own in (gray / "l.png", gray / "." / "r.png", link):
        assert "a file of its own" in droidflow("depth", *pair, "--out", own, code=2).stderr
    done = droidflow("depth", *pair, "--out", tmp_path / "o.png", "--confidence", link, code=2)
    assert "a file of its own" in done.stderr
    assert before == {path: path.read_bytes() for path in gray.iterdir()}
    film_ = tmp_path / "film.mkv"
    film_.write_bytes(recording.read_bytes())
    droidflow("depth", "--input", film_, *SMALL, "--backend", backend, "--out", film_, code=2)
    assert film_.read_bytes() == recording.read_bytes()
    maps = ["--backend", f"external:{gray}", "--out", gray / "%06d.png"]
    droidflow("depth", "--input", recording, *CAMERA, *maps, code=2)


def test_where_nothing_can_be_written_is_no_missing_input(
    droidflow, gray, recording, backend, tmp_path
):
    pair = ["--input", gray / "l.png", gray / "r.png", "--backend", backend]
    for out in (gray / "l.png" / "x.pfm", "/proc/none/x.npy"):
        assert "cannot make" in droidflow("depth", *pair, "--out", out, code=1).stderr
    flags = ["--input", recording, *SMALL, "--backend", backend, "--out", gray / "l.png" / "x.mkv"]
    assert "cannot make" in droidflow("depth", *flags, code=1).stderr


def test_endings_may_be_in_capitals(droidflow, gray, recording, backend, tmp_path):
    pair = ["--input", gray / "l.png", gray / "r.png", "--backend", backend]
    for name in ("o.PFM", "o.Npy", "o.PNG"):
        flags = ["--out", tmp_path / name, "--confidence", tmp_path / "c.PNG"]
        droidflow("depth", *pair, *flags, code=0)
    assert np.load(tmp_path / "o.Npy").shape == (24, 40) == read_png(tmp_path / "o.PNG").shape
    pfm = read_pfm(tmp_path / "o.PFM")
    np.testing.assert_array_equal(np.load(tmp_path / "o.Npy"), np.where(np.isinf(pfm), np.nan, pfm))
    maps = ["--backend", f"external:{tmp_path}", "--out", tmp_path / "v.MKV"]
    (tmp_path / "c.PNG").unlink()
    done = droidflow("depth", "--input", recording, *CAMERA, *maps, code=1)
    assert "want a map of 144x48, as the recording, have 40x24" in done.stderr


def test_gray_that_is_not_8_bits_is_said(droidflow, ffmpeg, gray, backend, tmp_path):
    for kind in ("ya8", "monob"):
        eye = tmp_path / f"{kind}.png"
        command = ["ffmpeg", "-v", "error", "-i", gray / "l.png", "-pix_fmt", kind, eye]
        subprocess.run(command, check=True)
        pair = ["--input", eye, gray / "r.png", "--backend", backend]
        done = droidflow("depth", *pair, "--out", tmp_path / "o.pfm", code=0)
        stored = {"ya8": "8-bit gray with alpha", "monob": "1-bit gray"}[kind]
        assert f"{stored} is made 8-bit gray: {eye}" in done.stderr


@pytest.mark.parametrize(
    "files, code, text",
    [
        ("a.pfm absent.pfm", 10, "absent.pfm"),
        ("a.pfm wide.pfm", 2, "want a truth of 3x2, as the result, have 4x2"),
        ("a.pfm a.pfm --mask wide.png", 2, "want a mask of 3x2, as the result, have 4x2"),
        ("a.pfm text.npy", 1, "text.npy"),
        ("a.pfm gray.png", 1, "want a disparity of 16-bit gray, have 8-bit gray"),
        ("a.pfm a.pfm --mask none.png", 1, "where the mask is 255"),
        ("a.pfm a.pfm --mask absent.png", 10, "absent.png"),
        ("a.pfm", 2, "truth is required"),
    ],
)
def test_what_cannot_be_scored_is_said(droidflow, tmp_path, files, code, text):
    write_pfm(tmp_path / "a.pfm", np.ones((2, 3)))
    write_pfm(tmp_path / "wide.pfm", np.ones((2, 4)))
    (tmp_path / "text.npy").write_text("hello")
    write_png(tmp_path / "gray.png", np.ones((2, 3), np.uint8))
    write_png(tmp_path / "none.png", np.ones((2, 3), np.uint8))
    write_png(tmp_path / "wide.png", np.ones((2, 4), np.uint8))
    arguments = [word if word == "--mask" else tmp_path / word for word in files.split()]
    done = droidflow("depth-eval", *arguments, code=code)
    assert text in done.stderr + done.stdout


def test_pictures_as_small_as_one_pixel_are_matched(droidflow, backend, tmp_path):
    write_png(tmp_path / "a.png", np.full((1, 1), 9, np.uint8))
    out = tmp_path / "o.npy"
    pair = [tmp_path / "a.png"] * 2
    droidflow("depth", "--input", *pair, "--backend", backend, "--out", out, code=0)
    assert np.load(out).shape == (1, 1)


def test_options_of_depth_come_from_a_file_too(droidflow, stereo, backend, matched, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"depth_backend: {backend}\ndepth_max_disparity: 64\ndepth_preset: quality\n")
    folder, out = stereo / "cones", tmp_path / "o.npy"
    pair = ["--input", folder / "left.png", folder / "right.png"]
    droidflow("depth", *pair, "--config", config, "--out", out, code=0)
    wanted = np.load(matched("cones", ".npy", "--preset", "quality"))
    np.testing.assert_array_equal(np.load(out), wanted)
    printed = droidflow("depth", "--config", config, "--no-median", "--print-config", code=0).stdout
    assert "depth_preset: quality\n" in printed and "depth_median: false\n" in printed
