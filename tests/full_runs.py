"""What the tests of `full` share: quick options, what both pipelines write, whole episodes.

Run as a program it watches queue folders: `full_runs.py FOLDER...` lists them until its standard
input ends, and prints each episode that could be seen before it was whole.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import select
import sys
import zipfile

QUICK = ["--backend", "cpu", "--preset", "fast", "--max-disparity", 64]
DEPTH_FILES = {"depth.mkv", "depth_meta.json"}
EPISODES = "[!.]*/[!.]*/[!.]*/[!.]*"


def shared_quality(quality: dict) -> dict:
    """What quality.json says that has nothing to do with depth, time or settings."""
    kept = {
        key: value
        for key, value in quality.items()
        if key not in ("timings_ms", "config", "provenance", "depth")
    }
    kept["cameras"] = {
        serial: {key: value for key, value in camera.items() if key != "depth_valid_fraction"}
        for serial, camera in quality["cameras"].items()
    }
    kept["warnings"] = [w for w in quality["warnings"] if "depth" not in w["code"]]
    return kept


def metadata_products(content: dict[str, object]) -> dict[str, object]:
    """Of conftest's content(): what `metadata` writes too."""
    return {
        name: shared_quality(value) if name.endswith("quality.json") else value
        for name, value in content.items()
        if pathlib.PurePath(name).name not in DEPTH_FILES
    }


def differing(have: dict, want: dict) -> list[str]:
    """Names of which only one has something, or both something else."""
    return sorted(name for name in have.keys() | want.keys() if have.get(name) != want.get(name))


def names(folder: pathlib.Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def has_depth(folder: pathlib.Path) -> set[str]:
    """Serials of the cameras with depth."""
    return {p.parent.name for p in folder.glob("recordings/*/depth.mkv")}


def check_whole(folder: pathlib.Path, depth: bool) -> None:
    """Every file that quality.json speaks of is there and undamaged.

    depth  whether depth belongs there.
    """
    quality = json.loads((folder / "quality.json").read_text())
    want = {"tracks.npz", "extrinsics.npz", "quality.json"}
    for serial, camera in quality["cameras"].items():
        at = f"recordings/{serial}"
        if camera["intrinsics_source"] is not None:
            want.add(f"{at}/intrinsics.json")
        if (camera["recording"] or {}).get("file"):
            want.add(f"{at}/video.json")
        if depth and camera["depth_valid_fraction"] is not None:
            want |= {f"{at}/{name}" for name in DEPTH_FILES}
    have = names(folder)
    assert have == want, f"missing {sorted(want - have)}, too many {sorted(have - want)}"
    for name in have:
        path = folder / name
        if path.suffix == ".npz":
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None, name
        elif path.suffix == ".json":
            json.loads(path.read_text())
        else:
            meta = json.loads(path.with_name("depth_meta.json").read_text())
            assert hashlib.sha256(path.read_bytes()).hexdigest() == meta["sha256"], name


def identity(folder: pathlib.Path) -> tuple | None:
    try:
        return folder.stat().st_ino, sorted((n, (folder / n).stat().st_ino) for n in names(folder))
    except OSError:
        return None


def watch(queues: list[tuple[pathlib.Path, bool]]) -> dict[str, str]:
    """episode -> what was wrong with it when it was first seen; until standard input ends."""
    seen: dict[pathlib.Path, tuple] = {}
    problems: dict[str, str] = {}
    ending = False
    while not ending:
        ending = bool(select.select([sys.stdin], [], [], 0.005)[0])
        for queue, depth in queues:
            for folder in queue.glob(EPISODES):
                before = identity(folder)
                if before is None or seen.get(folder) == before:
                    continue
                try:
                    check_whole(folder, depth)
                except Exception as error:  # whatever reading half a file raises
                    if identity(folder) == before:  # else it was replaced or taken meanwhile
                        problems.setdefault(str(folder), f"{type(error).__name__}: {error}")
                seen[folder] = before
    return problems


if __name__ == "__main__":
    # FOLDER: a queue with depth, FOLDER:metadata one without.
    arguments = [argument.partition(":") for argument in sys.argv[1:]]
    folders = [(pathlib.Path(path), kind != "metadata") for path, _, kind in arguments]
    json.dump(watch(folders), sys.stdout)
