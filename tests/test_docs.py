"""The documentation: what it shows is run as it stands, what it points to is there."""

from __future__ import annotations

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [
    *sorted(REPOSITORY.glob("*.md")), REPOSITORY / "bench/README.md", REPOSITORY / "python/README.md",
    *sorted(DOCS.glob("**/*.md")),
]  # fmt: skip
INPUTS = ["--droid-root", "demo/raw", "--annotations", "demo/annotations", "--conf-dir", "demo/conf"]


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
    """(language, code) of each fenced block that names a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def tutorial(droidflow, tmp_path_factory):
    """The tutorial, run as it stands: its folder, and what was printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    script = ["set -euo pipefail"]
    for number, (language, code) in enumerate(blocks(DOCS / "tutorial.md")):
        assert language in ("sh", "python")
        if language == "python":
            (folder / f"{number}.py").write_text(code)
            code = f"{sys.executable} {number}.py\n"
        script.append(f"echo '== block {number}'\n{code}")
    programs = folder / "programs"
    programs.mkdir()
    (programs / "droidflow").symlink_to(pathlib.Path(droidflow.binary).resolve())
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY / "python/src"),
        "HOME": str(folder),
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return folder, done.stdout


def test_the_tutorial_runs_as_it_stands(tutorial):
    folder, printed = tutorial
    for name in ("tracks.png", "report.html", "episode.mcap", "depth.png", "results/meta/episodes.jsonl", "hub"):
        assert (folder / name).exists(), name
    assert re.search(r"^3 \(\d+, 960, 3\) \(\d+, 960, 3\) 0?\.?\d+.* mm$", printed, re.MULTILINE), printed[-3000:]


def tables() -> dict[str, list[tuple[str, str, bool]]]:
    """(key, type, whether it is always there) of each row, by the heading of formats.md."""
    found = {}
    for section in re.split(r"^## ", (DOCS / "formats.md").read_text(), flags=re.MULTILINE)[1:]:
        rows = found[section.splitlines()[0]] = []
        for keys, kind, meaning in re.findall(r"^\| (`[^|]*) \| ([^|`]*) \|(.*) \|$", section, re.MULTILINE):
            rows += [(key, kind, not meaning.startswith(" only")) for key in re.findall(r"`([^`]+)`", keys)]
    known = {key: kind for key, kind, _ in found["tracks.npz"]}
    for name, rows in found.items():
        found[name] = [(key, known[key] if kind == "as above" else kind, must) for key, kind, must in rows]
    return found


def check(name: str, rows, values: dict, fits) -> None:
    """Every value has a row, whose type it is, and every row that must has a value."""
    patterns = {key: re.compile(re.escape(key).replace(r"\{serial\}", r"\d+")) for key, _, _ in rows}
    met = set()
    for key, value in values.items():
        fitting = [row for row in rows if patterns[row[0]].fullmatch(key)]
        assert len(fitting) == 1, f"{name}: {key} is in {len(fitting)} rows"
        assert fits(value, fitting[0][1]), f"{name}: {key} is not {fitting[0][1]} but {value!r:.100}"
        met.add(fitting[0][0])
    missing = {key for key, _, must in rows if must} - met
    assert not missing, f"{name}: {missing}"


def check_npz(section: str, path: pathlib.Path, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    def fits(array, kind):
        dtype, shapes = kind.split(" ", 1)
        wanted = [
            tuple(int(sizes.get(word, word)) for word in re.findall(r"\w+", shape)) for shape in shapes.split(" or ")
        ]
        is_dtype = array.dtype.kind == "U" if dtype == "U" else array.dtype == f"<{dtype}"
        return is_dtype and array.shape in wanted

    with np.load(path) as npz:
        arrays = dict(npz)
    rows = tables()[section]
    check(path.name, rows, arrays, fits)
    if "compact" not in section:
        order = [key for key, _, _ in rows if key in arrays]  # without those of a camera
        assert [key for key in arrays if key in order] == order, path.name
    return arrays


def is_kind(value, kind: str) -> bool:
    """Whether a JSON value is `text`, `int`, `number`, `bool`, `object`, `[…]`, `null`, or one `or` the other."""
    if kind.startswith("[") and kind.endswith("]"):
        return isinstance(value, list) and all(is_kind(item, kind[1:-1]) for item in value)
    if " or " in kind:
        return any(is_kind(value, part) for part in re.split(r" or (?![^\[]*\])", kind))
    if kind in ("int", "number"):
        return isinstance(value, (int, float) if kind == "number" else int) and not isinstance(value, bool)
    return isinstance(value, {"text": str, "bool": bool, "object": dict, "null": type(None)}[kind])


def check_json(section: str, value: dict) -> None:
    rows = tables()[section]

    def flat(value, prefix=""):
        for key, item in value.items():
            yield prefix + key, item
            pattern = re.sub(r"\d{8}", "{serial}", prefix + key)
            if isinstance(item, dict) and any(row[0].startswith(pattern + ".") for row in rows):
                yield from flat(item, f"{prefix}{key}.")

    # `cameras.{serial}` itself is an object that has rows of its own.
    values = {key: item for key, item in flat(value) if not re.fullmatch(r"cameras\.\d+", key)}
    check(section, rows, values, is_kind)


def test_formats_are_what_is_written(droidflow, tutorial):
    folder, _ = tutorial
    runs = {"cwd": folder, "code": 0, "timeout": 300}
    droidflow("check", "with_depth", "--droid-root", "demo/raw", "--conf-dir", "demo/conf", **runs)
    droidflow("convert", "with_depth", "--tracks-layout", "compact", "-o", "compact", **runs)
    uuid = (folder / "demo/episodes.txt").read_text().split()[0]
    droidflow("tracks", "--episode-id", uuid, *INPUTS, "--out", "late", "--pose-time", "capture", **runs)
    (quality,) = (folder / "with_depth").glob("*/*/*/*/quality.json")
    episode = quality.parent
    with np.load(episode / "tracks.npz") as npz:
        T, N = npz["tracks_3d"].shape[:2]
        sizes = {"T": T, "N": N, "P": N // 2, "M": len(npz["normalized_centroids"]), "C": 3}
    assert "capture_ms_" not in str(check_npz("tracks.npz", episode / "tracks.npz", sizes).keys())
    for path in (folder / "late").rglob("tracks.npz"):
        assert "capture_ms_" in str(check_npz("tracks.npz", path, sizes).keys())
    (path,) = (folder / "compact").rglob("tracks.npz")
    check_npz("tracks.npz, compact", path, sizes)
    check_npz("extrinsics.npz", episode / "extrinsics.npz", sizes)
    for camera in (episode / "recordings").iterdir():
        for name in ("intrinsics.json", "video.json", "depth_meta.json"):
            check_json(f"recordings/{{serial}}/{name}", json.loads((camera / name).read_text()))
        check_npz("recordings/{serial}/visibility.npz", camera / "visibility.npz", sizes)
        assert {path.name for path in camera.iterdir()} == {
            "depth.mkv", "depth_meta.json", "intrinsics.json", "video.json", "visibility.npz"
        }  # fmt: skip
    for path in folder.glob("results/*/*/*/*/quality.json"):
        check_json("quality.json", json.loads(path.read_text()))
    check_json("check in quality.json", json.loads(quality.read_text())["check"])
    for line in (folder / "results/meta/episodes.jsonl").read_text().splitlines():
        check_json("meta/episodes.jsonl", json.loads(line))
    check_json("meta/dataset.json", json.loads((folder / "results/meta/dataset.json").read_text()))


def without_code(page: pathlib.Path) -> str:
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: pathlib.Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE):
        base = name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        number = 0
        while name in found:
            number += 1
            name = f"{base}-{number}"
        found.add(name)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)", without_code(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_in_the_index():
    index = DOCS / "README.md"
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index.read_text()) if "://" not in target}
    assert set(DOCS.glob("*.md")) - {index} <= linked
    assert "(docs/README.md)" in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_headings_and_tables_stand_alone(page):
    """Without an empty line before it a heading or a table is part of the text above."""
    lines = re.sub(r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for before, line in zip(lines.splitlines(), lines.splitlines()[1:]):
        if line.startswith("#") or (line.startswith("| ") and not before.startswith("|")):
            assert before == "", line


def test_commands_that_pages_name_are_there(droidflow):
    known = set(re.findall(r"^  ([a-z][a-z-]+) ", droidflow("--help", code=0).stdout, re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`droidflow ([a-z][a-z-]+)[ `]", page.read_text()))
        assert named <= known | {"completion", "man"}, page


def test_flags_that_pages_name_are_there(droidflow):
    """In inline code and in blocks; those of other programs are named here."""
    manual = droidflow("man", code=0).stdout.replace("\\-", "-")
    known = set(re.findall(r"--[a-z][a-z0-9-]+", manual))
    others = {
        "cmake": {"--build", "--component", "--install", "--prefix", "--preset", "--target"},
        "benchmarks": {"--full", "--pair", "--pairs", "--without-avx512"},
        "python3 -m droidflow export": {"--size"},
        "sbatch": {"--account", "--signal"},
        "compute-sanitizer": {"--tool"},
        "ctest": {"--test-dir"},
    }
    for page in PAGES:
        code = re.findall(r"^```.*?^```|`[^`]+`", page.read_text(), re.DOTALL | re.MULTILINE)
        named = {flag for text in code for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", text)}
        assert not named - known.union(*others.values()), page


def test_the_python_pages_code_runs(tutorial):
    """Of python/README.md what needs NumPy only, on what the tutorial made."""
    folder, _ = tutorial
    for name, target in {"out": "with_depth", "keep_ranges_1_0_1.json": "demo/annotations/keep_ranges_1_0_1.json"}.items():
        (folder / name).symlink_to(folder / target)
    code = [text for _, text in blocks(REPOSITORY / "python/README.md") if "torch" not in text and "webdataset" not in text]
    assert len(code) >= 2
    (folder / "page.py").write_text("\n".join([*code, "assert depth_m.ndim == 2 and len(windows) > 0"]))
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "python/src")}
    done = subprocess.run([sys.executable, "page.py"], cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
