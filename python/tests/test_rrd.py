"""What the Rerun viewer gets, read back by its own package."""

from __future__ import annotations

import importlib.util
import io
import re

import numpy as np
import pytest

from droidflow.__main__ import main
from droidflow.rrd import open_episode

SERIAL = re.compile(r"^(ext\d+|wrist)$")


def episode_in(out) -> str:
    return str(sorted(out.glob("*/*/*/*/tracks.npz"))[0].parent)


def test_an_episode_is_its_folder(out, tmp_path, capsys):
    place = episode_in(out)
    assert place.endswith(open_episode(place).folder)
    assert main(["view", str(tmp_path), "-o", str(tmp_path / "x.rrd")]) == 1
    assert f"{tmp_path}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("rerun") is not None, reason="rerun-sdk is there")
def test_without_its_package_it_says_how_to_get_it(out, tmp_path, capsys):
    assert main(["view", episode_in(out), "-o", str(tmp_path / "x.rrd")]) == 1
    assert "pip install 'droidflow[view]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_rerun_reads_it(out, raw, tmp_path):
    reader = pytest.importorskip("rerun.dataframe")
    picture_of = pytest.importorskip("PIL.Image").open
    episode, path = open_episode(episode_in(out)), tmp_path / "ep.rrd"
    assert main(["view", episode_in(out), "-o", str(path), "--droid-root", str(raw[1]), "--width", "336"]) == 0
    assert list(tmp_path.iterdir()) == [path]
    record = reader.load_recording(path)
    assert record.recording_id() == episode.uuid

    def column(entity: str, component: str) -> dict[np.datetime64, np.ndarray]:
        """Unix time -> the value then."""
        table = record.view(index="time", contents=entity).select().read_all()
        name = next(n for n in table.column_names if n.endswith(f"{entity}:{component}"))
        rows = zip(table["time"].to_numpy(), table[name].to_pylist())
        return {time: np.array(value) for time, value in rows if value is not None}

    times = [np.datetime64(int(ms), "ms").astype("datetime64[ns]") for ms in episode.timestamps_ms]
    points = column("/world/tracks", "Points3D:positions")
    assert list(points) == times
    np.testing.assert_array_equal(list(points.values()), episode.tracks_3d)
    assert set(episode.cameras) == {"ext1", "ext2", "wrist"} and all(map(SERIAL.match, episode.cameras))
    for role, serial in episode.cameras.items():
        at = f"/world/{role}"
        moved = column(at, "Transform3D:translation")
        np.testing.assert_allclose(
            np.array(list(moved.values()))[:, 0], episode.T_base_cam(serial)[:, :3, 3], atol=1e-6
        )
        marks = column(f"{at}/image/tracks", "Points2D:positions")
        for time, pixels in zip(times, episode.tracks_2d[serial]):
            seen = pixels[np.isfinite(pixels).all(axis=1)]
            np.testing.assert_allclose(marks[time], (seen + 0.5) / 2, atol=1e-3)
        depth = episode.depth(serial)
        maps = column(f"{at}/image/depth", "DepthImage:buffer")
        shown = [t for t, frame in enumerate(depth.step_to_frame) if frame >= 0]
        assert list(maps) == [times[t] for t in shown]
        have_mm = maps[times[shown[0]]].astype("u1").ravel().view("<u2").reshape(188, 336)
        want_mm = np.nan_to_num(depth.at_step(shown[0])[1::2, 1::2]) * 1000
        np.testing.assert_allclose(have_mm, want_mm, atol=0.51)
        pictures = column(f"{at}/image", "EncodedImage:blob")
        first = next(iter(pictures.values())).astype("u1").ravel().tobytes()
        assert picture_of(io.BytesIO(first)).size == (336, 188)
