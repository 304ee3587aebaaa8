"""What the acceptance tests share: the binary, the shared data, runs made once for many tests."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from buckets import Bucket, find_fake_gcs_server
from recordings_reference import have_ffmpeg

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "tests"))

POINTS_KEY = "contact_points_local"


def _unavailable(reason: str):
    """Skips where a developer lacks something; continuous integration must have it."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


class Droidflow:
    """The program under test."""

    def __init__(self, binary: pathlib.Path):
        self.binary = binary
        self.environment = {
            k: v for k, v in os.environ.items() if not k.startswith(("DROID_", "DROIDFLOW_"))
        }

    def command(self, *args) -> list[str]:
        return [str(self.binary), *map(str, args)]

    def __call__(
        self, *args, code: int | None = None, env: dict | None = None, prefix=(), **options
    ):
        """Runs to the end; with `code`, demands that exit status and shows what was printed."""
        done = subprocess.run(
            [*prefix, *self.command(*args)],
            env={**self.environment, **(env or {})},
            text=True,
            capture_output=True,
            timeout=options.pop("timeout", 120),
            **options,
        )
        if code is not None:
            assert done.returncode == code, (
                f"{' '.join(map(str, args))}\nexit status {done.returncode}, expected {code}\n"
                f"--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
            )
        return done

    def start(self, *args, **options) -> subprocess.Popen:
        """Starts in the background, in a process group of its own, output thrown away."""
        quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
            "stdin": subprocess.DEVNULL,
        }
        return subprocess.Popen(
            self.command(*args),
            env=self.environment,
            start_new_session=True,
            **{**quiet, **options},
        )

    def json(self, *args, code: int = 0):
        return json.loads(self(*args, "--json", code=code).stdout)


@pytest.fixture(scope="session")
def droidflow() -> Droidflow:
    binary = pathlib.Path(
        os.environ.get("DROIDFLOW_BIN", REPOSITORY / "build/release/bin/droidflow")
    )
    if not binary.exists():
        _unavailable(f"no droidflow binary at {binary}: build it or set DROIDFLOW_BIN")
    return Droidflow(binary.resolve())


@pytest.fixture(scope="session")
def shared() -> pathlib.Path:
    folder = pathlib.Path(os.environ.get("DROIDFLOW_SHARED_DIR", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        _unavailable(f"no test data at {folder}/data: set DROIDFLOW_SHARED_DIR")
    return folder


@pytest.fixture(scope="session")
def ffmpeg():
    if not have_ffmpeg():
        _unavailable("no ffmpeg and ffprobe on this machine")


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A raw tree with its annotations and, for some episodes, the original pipeline's output."""

    folder: pathlib.Path
    conf: pathlib.Path
    raw: pathlib.Path
    expected: pathlib.Path | None = None

    @property
    def annotations(self) -> pathlib.Path:
        return self.folder

    @property
    def inputs(self) -> list:
        return [
            "--droid-root",
            self.raw,
            "--annotations",
            self.annotations,
            "--conf-dir",
            self.conf,
        ]

    def episodes(self) -> list[pathlib.Path]:
        """Relative paths of all raw episodes."""
        return sorted(
            p.parent.relative_to(self.raw) for p in self.raw.glob("*/*/*/*/trajectory.h5")
        )

    def uuid(self, episode: pathlib.Path) -> str:
        (metadata,) = (self.raw / episode).glob("metadata_*.json")
        return metadata.stem.removeprefix("metadata_")


def _dataset(shared: pathlib.Path, name: str) -> Dataset:
    folder = shared / "data" / name
    return Dataset(folder, shared / "data/zed_conf", folder / "raw", folder / "expected")


@pytest.fixture(scope="session")
def golden(shared) -> Dataset:
    return _dataset(shared, "golden")


@pytest.fixture(scope="session")
def real(shared) -> Dataset:
    return _dataset(shared, "real_episode")


@pytest.fixture(scope="session")
def datasets(golden, real) -> list[Dataset]:
    return [golden, real]


def copy_dataset(source: Dataset, to: pathlib.Path) -> Dataset:
    """A copy to break: raw tree and annotations, writable; the conf files where they are."""
    shutil.copytree(source.raw, to / "raw")
    for annotation in source.annotations.glob("*.json"):
        shutil.copy(annotation, to / annotation.name)
    for path in [to, *to.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return Dataset(to, source.conf, to / "raw")


@pytest.fixture
def golden_copy(golden, tmp_path) -> Dataset:
    return copy_dataset(golden, tmp_path / "golden")


@pytest.fixture(scope="session")
def original_points(golden, tmp_path_factory) -> pathlib.Path:
    """The original's contact points as a .npy file; all expected outputs hold the same."""
    stored = [
        np.load(p, allow_pickle=True)[POINTS_KEY]
        for p in sorted(golden.expected.rglob("tracks.npz"))
    ]
    assert all(np.array_equal(points, stored[0]) for points in stored)
    path = tmp_path_factory.mktemp("points") / "original.npy"
    np.save(path, stored[0])
    return path


@pytest.fixture(scope="session")
def runs(droidflow, tmp_path_factory):
    """runs(dataset, *flags) -> output folder of a finished run with these flags, made once."""

    @functools.cache
    def run(dataset: Dataset, *flags) -> pathlib.Path:
        out = tmp_path_factory.mktemp("run") / "out"
        droidflow("metadata", -1, 2, *dataset.inputs, "--out", out, *flags, code=0)
        return out

    return run


@pytest.fixture(scope="session")
def synth(droidflow, tmp_path_factory):
    """synth(episodes=…, steps=…, …) -> a synthetic data set, made once; films are small."""

    @functools.cache
    def make(
        episodes: int, steps: int, seed: int = 1, faults: bool = False, video: str = "still"
    ) -> Dataset:
        folder = tmp_path_factory.mktemp("synth") / "data"
        flags = ["--video", video, "--resolution", "VGA"]
        flags += ["--faults"] if faults else []
        droidflow(
            "synth",
            folder,
            "--episodes",
            episodes,
            "--steps",
            steps,
            "--seed",
            seed,
            *flags,
            code=0,
            timeout=300,
        )
        return Dataset(folder / "annotations", folder / "conf", folder / "raw")

    return make


@pytest.fixture
def bucket(tmp_path):
    """A stand-in of a bucket, empty."""
    made = Bucket(tmp_path / "bucket")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def fake_gcs_server(tmp_path_factory) -> pathlib.Path:
    program = find_fake_gcs_server(tmp_path_factory.mktemp("fake-gcs"))
    if isinstance(program, str):
        pytest.skip(program)
    return program


@pytest.fixture
def small_disk(tmp_path):
    """grow(MiB) -> a tmpfs of that size, the same one each time."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def grow(size_mib: float) -> pathlib.Path:
        how = f"{'remount,' if os.path.ismount(disk) else ''}size={round(size_mib * 1024)}k"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", how, "none", str(disk)], capture_output=True
        )
        if done.returncode != 0:
            pytest.skip(f"cannot mount a small disk: {done.stderr.decode().strip()}")
        return disk

    yield grow
    if os.path.ismount(disk):
        subprocess.run(["umount", "-l", str(disk)], check=True)


def finished(out: pathlib.Path) -> list[pathlib.Path]:
    """Folders of finished episodes, in an output tree, a queue or a hub's folder.

    For a tree that changes meanwhile: what goes away while it is looked into is not there (a glob
    raises). Names that begin with a point, a run's own folder among them, are not looked into.
    """
    found = []
    for folder, below, files in os.walk(out):
        below[:] = [name for name in below if not name.startswith(".")]
        if "tracks.npz" in files:
            found.append(pathlib.Path(folder))
    return sorted(found)


def products(out: pathlib.Path) -> dict[str, pathlib.Path]:
    """relative path -> file, for everything in the output tree but run directory and index."""
    files = (p for p in sorted(out.rglob("*")) if p.is_file())
    relative = {str(p.relative_to(out)): p for p in files}
    return {name: p for name, p in relative.items() if not name.startswith((".droidflow/", "meta/"))}


def content(out: pathlib.Path) -> dict[str, object]:
    """relative path -> bytes; of quality.json everything but the times and files that were read."""
    found: dict[str, object] = {}
    for name, path in products(out).items():
        if path.name == "quality.json":
            found[name] = {
                k: v
                for k, v in json.loads(path.read_text()).items()
                if k not in ("timings_ms", "provenance")
            }
        else:
            found[name] = path.read_bytes()
    return found


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """All members of an .npz, without pickle."""
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def quality(folder: pathlib.Path) -> dict:
    return json.loads((folder / "quality.json").read_text())


def stop_group(process: subprocess.Popen) -> None:
    """Ends a started run and its workers."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
