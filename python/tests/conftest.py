"""What the tests share: data that droidflow made, and the original pipeline's."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOM = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = ROOM.parent
sys.path[:0] = [str(ROOM / "src"), str(REPOSITORY / "tests")]

import from_pypi  # noqa: E402

# Behind the interpreter's own, whose NumPy may be 1.x. Without a registry a developer's tests skip.
with contextlib.nullcontext() if os.environ.get("CI") else contextlib.suppress(RuntimeError):
    extras = from_pypi.install("python_extras", "av>=14", "h5py", "pyarrow>=18,<21", "webdataset")
    sys.path.append(str(extras))

STEPS = 14


def unavailable(reason: str):
    """Skips where a developer lacks something; continuous integration must have it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All members, as NumPy reads them."""
    with np.load(path, allow_pickle=True) as archive:
        return {key: archive[key] for key in archive.files}


@pytest.fixture(scope="session")
def program():
    """program(argument, …) runs droidflow."""
    binary = pathlib.Path(
        os.environ.get("DROIDFLOW_BIN", REPOSITORY / "build/release/bin/droidflow")
    )
    if not binary.exists():
        unavailable(f"no droidflow binary at {binary}: build it or set DROIDFLOW_BIN")

    def run(*arguments, **environment) -> None:
        command = [binary.resolve(), *map(str, arguments)]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"

    return run


@pytest.fixture(scope="session")
def raw(program, tmp_path_factory) -> list:
    """Options that name three raw episodes."""
    data = tmp_path_factory.mktemp("raw") / "data"
    made = ["--episodes", 3, "--steps", STEPS, "--video", "stereo", "--resolution", "VGA"]
    program("synth", data, *made)
    names = {"--droid-root": "raw", "--annotations": "annotations", "--conf-dir": "conf"}
    return [word for flag, folder in names.items() for word in (flag, data / folder)]


@pytest.fixture(scope="session")
def out(program, raw, tmp_path_factory) -> pathlib.Path:
    """The results, with depth of every second frame."""
    out = tmp_path_factory.mktemp("out") / "out"
    depth = ["--backend", "cpu", "--preset", "fast", "--depth-every", 2]
    program("full", -1, "--workers", 2, *raw, "--out", out, "--points", 20, *depth)
    return out


@pytest.fixture(scope="session")
def at_step(program, raw, tmp_path_factory):
    """at_step(mm) -> the same results with that distance between resampled steps."""

    def make(step_mm: float) -> pathlib.Path:
        out = tmp_path_factory.mktemp("step") / "out"
        program("metadata", -1, 2, *raw, "--out", out, "--points", 20, "--step-mm", step_mm)
        return out

    return make


@pytest.fixture(scope="session")
def shards(program, out, tmp_path_factory) -> pathlib.Path:
    """The results in archives."""
    place = tmp_path_factory.mktemp("hub") / "hub"
    upload(program, out, "shards", "--hub", f"file:{place}")
    return place


def upload(program, out: pathlib.Path, layout: str, *where, **environment) -> None:
    """Copies the results to a place that has none yet."""
    for queue in (out / ".droidflow").glob("upload.sqlite*"):
        queue.unlink()  # it belongs to one place
    flags = ["--hub-layout", layout, "--upload-interval", 0, "--keep-uploaded"]
    program("upload", out, *flags, *where, **environment)


@pytest.fixture(scope="session")
def original() -> pathlib.Path:
    """What the original pipeline wrote."""
    shared = pathlib.Path(os.environ.get("DROIDFLOW_SHARED_DIR", REPOSITORY.parent / "shared"))
    folder = shared / "data/golden/expected"
    if not folder.is_dir():
        unavailable(f"no test data at {folder}: set DROIDFLOW_SHARED_DIR")
    return folder
