"""`droidflow hub`: what a repository has, whether that is right, and the card that explains it.

The code of the card runs for real, on what was uploaded.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import urllib.request

import pytest
import yaml
from conftest import REPOSITORY, Dataset
from hub_server import HubServer

DONE, USAGE, WRONG, NO_REPOSITORY, FORBIDDEN = 0, 2, 3, 10, 12
REPO, TOKEN = "tester/episodes", "hf_NobodyMaySeeThisToken"
LAYOUTS = ("files", "shards")


# -------------------------------------------------------------------------------------- what is made


@pytest.fixture(scope="module")
def depth_out(droidflow, tmp_path_factory) -> pathlib.Path:
    """Two finished episodes with depth."""
    folder = tmp_path_factory.mktemp("depth")
    flags = ["--episodes", 2, "--steps", 12, "--video", "stereo", "--resolution", "VGA"]
    droidflow("synth", folder / "data", *flags, code=0)
    data = folder / "data"
    made = Dataset(data / "annotations", data / "conf", data / "raw")
    full = ["full", -1, "--workers", 1, *made.inputs, "--out", folder / "out", "--backend", "cpu"]
    droidflow(*full, "--max-frames", 3, "--preset", "fast", code=0, timeout=600)
    return folder / "out"


@pytest.fixture(params=LAYOUTS)
def layout(request) -> str:
    return request.param


@pytest.fixture
def out(runs, golden, tmp_path) -> pathlib.Path:
    """Finished episodes without depth, to be changed as one likes."""
    return pathlib.Path(
        shutil.copytree(runs(golden), tmp_path / "out", ignore=shutil.ignore_patterns(".droidflow"))
    )


@pytest.fixture
def place(tmp_path) -> pathlib.Path:
    return tmp_path / "hub"


def upload(droidflow, out, layout, *where, env=None):
    """To a new place: a queue has one for ever."""
    for queue in (out / ".droidflow").glob("upload.sqlite*"):
        queue.unlink()
    flags = ["--hub-layout", layout, "--upload-interval", 0, "--keep-uploaded"]
    droidflow("upload", out, *flags, *where, code=DONE, env=env, timeout=300)


def folder_of(place: pathlib.Path) -> list[str]:
    return ["--hub", f"file:{place}"]


def hub_json(droidflow, verb: str, *arguments, code: int = DONE, env=None) -> dict:
    printed = droidflow("hub", verb, *arguments, "--json", code=code, env=env).stdout
    (repository,) = json.loads(printed)["repositories"]
    return repository


def episodes_in(out: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """folder -> its files"""
    return {
        str(quality.parent.relative_to(out)): [
            path for path in quality.parent.rglob("*") if path.is_file()
        ]
        for quality in sorted(out.rglob("quality.json"))
    }


def below(place: pathlib.Path, pattern: str) -> pathlib.Path:
    """The first such file that is not the store's own."""
    return min(path for path in place.rglob(pattern) if ".droidflow" not in path.parts)


@pytest.fixture
def server():
    with HubServer(tokens={TOKEN: "write"}) as running:
        yield running


@pytest.fixture
def environment(server, tmp_path) -> dict[str, str]:
    home = str(tmp_path / "hf_home")
    return {"HF_ENDPOINT": server.endpoint, "HF_HOME": home, "HF_TOKEN": TOKEN}


# ---------------------------------------------------------------------------------------------- ls


def test_ls_tells_every_episode(droidflow, out, place, layout):
    upload(droidflow, out, layout, *folder_of(place))
    told = hub_json(droidflow, "ls", *folder_of(place))
    here = episodes_in(out)
    assert [episode["path"] for episode in told["episodes"]] == sorted(here)
    for episode in told["episodes"]:
        files = here[episode["path"]]
        assert episode["files"] == len(files)
        assert episode["bytes"] == sum(path.stat().st_size for path in files)
        uuid = json.loads((out / episode["path"] / "quality.json").read_text())["episode_id"]
        assert episode["uuid"] == (uuid if layout == "shards" else None)
    printed = droidflow("hub", "ls", *folder_of(place), code=DONE).stdout
    assert all(folder in printed for folder in here)
    assert f"folder {place}: {len(here)} episodes, {told['files']} files" in printed


def test_ls_of_the_hub_is_that_of_the_folder(droidflow, out, place, layout, environment):
    upload(droidflow, out, layout, *folder_of(place))
    upload(droidflow, out, layout, "--hf-repo", REPO, env=environment)
    folder = hub_json(droidflow, "ls", *folder_of(place))
    hub = hub_json(droidflow, "ls", "--hf-repo", REPO, env=environment)
    for episode in folder["episodes"] + hub["episodes"]:
        episode.pop("shard")
    assert hub["episodes"] == folder["episodes"]


@pytest.mark.parametrize("verb", ["ls", "verify", "card"])
def test_exit_codes_tell_what_is_wrong_with_the_place(droidflow, verb, place, environment):
    assert "Give --hf-repo or --hub" in droidflow("hub", verb, code=USAGE).stderr
    place.mkdir()
    told = droidflow("hub", verb, *folder_of(place), code=NO_REPOSITORY).stderr
    assert f"no store of droidflow: {place}" in told
    assert list(place.iterdir()) == []
    hub = ["hub", verb, "--hf-repo", REPO]
    droidflow(*hub, env=environment, code=NO_REPOSITORY)
    droidflow(*hub, env=environment | {"HF_TOKEN": "hf_old"}, code=FORBIDDEN)
    droidflow("hub", code=USAGE)


# ------------------------------------------------------------------------------------------ verify


def test_verify_finds_nothing_wrong_with_an_upload(droidflow, out, place, layout, environment):
    here = episodes_in(out)
    hub_hashes = 2 * len(here) if layout == "files" else 16  # of small files it knows git's only
    for where, read_back in ((folder_of(place), 16), (["--hf-repo", REPO], hub_hashes)):
        upload(droidflow, out, layout, *where, env=environment)
        found = hub_json(droidflow, "verify", out, *where, env=environment)
        assert found["ok"] and found["extra"] == [] and found["read_back"] == read_back
        assert found["expected_episodes"] == len(here)
        assert found["expected_files"] >= sum(map(len, here.values()))
    found = hub_json(droidflow, "verify", "--sample", 100_000, *folder_of(place))
    assert found["read_back"] == sum(map(len, here.values()))
    assert found["expected_files"] == 0 and found["extra"] is None


def test_verify_names_what_is_missing_different_and_extra(droidflow, out, place, layout):
    upload(droidflow, out, layout, *folder_of(place))
    first, second, *_ = sorted(episodes_in(out))
    shutil.copytree(out / first, out / "LAB/success/2023-01-01/new")
    tracks = out / second / "tracks.npz"
    data = bytearray(tracks.read_bytes())
    data[1000] ^= 1
    tracks.unlink()
    tracks.write_bytes(data)
    (out / first / "extrinsics.npz").unlink()
    found = hub_json(droidflow, "verify", out, "--sample", 0, *folder_of(place), code=WRONG)
    new = {path.name for path in (out / "LAB").rglob("*") if path.is_file()}
    assert {pathlib.Path(path).name for path in found["missing"]} == new
    assert all(path.startswith("LAB/") for path in found["missing"])
    # The queue knows what was confirmed, and the tree has something else now.
    assert [row["path"] for row in found["different"]] == [f"{second}/tracks.npz"]
    assert hashlib.sha256(data).hexdigest()[:12] in found["different"][0]["problem"]
    assert found["extra"] == [] and found["read_back"] == 0
    shutil.rmtree(out / ".droidflow")
    found = hub_json(droidflow, "verify", out, *folder_of(place), code=WRONG)
    assert found["extra"] == [f"{first}/extrinsics.npz"]
    printed = droidflow("hub", "verify", out, *folder_of(place), code=WRONG).stdout
    for kind in ("missing", "different", "extra"):
        assert re.search(f"^{kind} ", printed, re.MULTILINE)


def test_verify_of_a_run_directory_is_of_what_was_confirmed(droidflow, out, place):
    droidflow("upload", out, *folder_of(place), "--upload-interval", 0, code=DONE)
    assert episodes_in(out) == {}
    run_dir = out / ".droidflow"
    found = hub_json(droidflow, "verify", run_dir, *folder_of(place))
    assert found["ok"] and found["expected_episodes"] > 0
    lost = below(place, "tracks.npz")
    lost.unlink()
    found = hub_json(droidflow, "verify", run_dir, *folder_of(place), code=WRONG)
    assert found["missing"] == [str(lost.relative_to(place))]
    assert droidflow("hub", "verify", place / "none", *folder_of(place)).returncode == 10


def test_verify_reads_bytes_back(droidflow, out, place, layout):
    upload(droidflow, out, layout, *folder_of(place))
    victim = below(place, "*.tar" if layout == "shards" else "tracks.npz")
    data = bytearray(victim.read_bytes())
    data[2000] ^= 1
    victim.chmod(0o644)
    victim.write_bytes(data)
    every = ["verify", "--sample", 100_000, *folder_of(place)]
    found = hub_json(droidflow, *every, code=WRONG)
    (damage,) = found["damaged"]
    folder = str(victim.parent.relative_to(place))
    assert damage["path"].startswith(folder if layout == "files" else "")
    assert "read" in damage["problem"]


def test_verify_notices_a_shard_that_is_too_short(droidflow, out, place):
    upload(droidflow, out, "shards", *folder_of(place))
    index = below(place, "*.jsonl")
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    lines[0]["members"][0]["offset"] = 10**12
    text = "".join(json.dumps(line) + "\n" for line in lines)
    history = place / ".droidflow/commits.jsonl"
    changed = history.read_text().replace(
        json.dumps(str(index.relative_to(place))) + ',"size_bytes":%d' % index.stat().st_size,
        json.dumps(str(index.relative_to(place))) + ',"size_bytes":%d' % len(text.encode()),
    )
    assert changed != history.read_text()
    history.write_text(changed)
    index.chmod(0o644)
    index.write_text(text)
    found = hub_json(droidflow, "verify", *folder_of(place), code=WRONG)
    assert "of a shard of" in found["damaged"][0]["problem"]


# -------------------------------------------------------------------------------------------- card


def card_of(droidflow, *where, env=None) -> str:
    return droidflow("hub", "card", "--print", *where, code=DONE, env=env).stdout


def run_card(card: str, folder: pathlib.Path, report: str, env=None) -> dict:
    """Runs the card's code in a folder, and then `report`, an expression."""
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)
    program = []
    for block in blocks:
        compile(block, "card", "exec")
        if "import torch" in block and importlib.util.find_spec("torch") is None:
            continue
        program.append(block)
    program.append(f"print(json.dumps({report}))\n")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(program)],
        cwd=folder,
        env={**os.environ, **(env or {})},
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


REPORT = """{
    "episodes": len(episodes),
    "id": quality["episode_id"],
    "cameras": list(tracks["cameras_with_2d_tracks"]),
    "error_px": float(np.nanmax(np.abs(u_v_1[..., :2] - pixels))),
    "in_image": float(in_image.mean()),
}"""


def check_report(told: dict, out: pathlib.Path) -> None:
    here = episodes_in(out)
    assert told["episodes"] == len(here)
    (quality,) = [
        known
        for known in (json.loads((out / folder / "quality.json").read_text()) for folder in here)
        if known["episode_id"] == told["id"]
    ]
    assert told["cameras"] == quality["cameras_with_2d_tracks"]
    assert told["error_px"] < 0.01
    last = quality["cameras"][told["cameras"][-1]]
    assert told["in_image"] == pytest.approx(last["in_image_fraction"], abs=1e-3)


def test_the_cards_code_reads_what_was_uploaded(droidflow, out, place, layout):
    upload(droidflow, out, layout, *folder_of(place))
    card = card_of(droidflow, *folder_of(place))
    check_report(run_card(card, place, REPORT), out)
    assert "ffmpeg" not in card and "depth_meta.json\n" not in card


def test_the_cards_code_reads_depth(droidflow, depth_out, place, layout):
    upload(droidflow, depth_out, layout, *folder_of(place))
    report = REPORT[:-1] + """
        "shape": depth_m.shape,
        "valid": float(np.isfinite(depth_m).mean()),
        "said": meta["valid_fraction"],
        "frames": meta["frame_count"],
    }"""
    card = card_of(droidflow, *folder_of(place))
    told = run_card(card, place, report)
    check_report(told, depth_out)
    assert told["shape"] == [told["frames"], 376, 672]
    assert told["valid"] == pytest.approx(told["said"], abs=1e-6) and told["valid"] > 0.1


def test_the_cards_code_reads_ranges_of_shards(droidflow, out, server, environment, tmp_path):
    upload(droidflow, out, "shards", "--hf-repo", REPO, env=environment)
    card = card_of(droidflow, "--hf-repo", REPO, env=environment)
    assert f"`hf download {REPO} --repo-type dataset --local-dir data`" in card
    (tmp_path / "data/meta").mkdir(parents=True)
    held = server.tree(REPO)
    for path in held:
        if path.startswith("meta/"):
            (tmp_path / "data" / path).write_bytes(download(server, path))
    already = max(request["number"] for request in server.requests)
    check_report(run_card(card, tmp_path / "data", REPORT, env=environment), out)
    archives = [path for path in held if path.endswith(".tar")]
    asked = [request["path"] for request in server.requests if request["number"] > already]
    assert any("/resolve/main/" + archives[0] in path for path in asked)


def download(server: HubServer, path: str) -> bytes:
    url = f"{server.endpoint}/datasets/{REPO}/resolve/main/{path}"
    with urllib.request.urlopen(url) as reply:
        return reply.read()


def test_the_cards_tables_are_those_of_the_documentation(droidflow, depth_out, place):
    """tests/test_docs.py compares these with what is written."""
    upload(droidflow, depth_out, "files", *folder_of(place))
    card = card_of(droidflow, *folder_of(place)).splitlines()
    pages = (REPOSITORY / "docs/formats.md").read_text()
    compact = re.search(r"^## tracks.npz, compact$.*?(?=^## )", pages, re.MULTILINE | re.DOTALL)[0]
    rows = [line for line in pages.replace(compact, "").splitlines() if line.startswith("| `") and "](" not in line]
    assert len(rows) > 60
    assert [row for row in rows if row not in card] == []
    assert [row for row in compact.splitlines() if row.startswith("| `") and row in card] == []
    assert not any(".md](" in line for line in card)


def test_the_cards_front_matter_is_what_the_hub_asks_for(droidflow, depth_out, place, layout):
    upload(droidflow, depth_out, layout, *folder_of(place))
    card = card_of(droidflow, *folder_of(place))
    start, front, text = card.split("---\n", 2)
    assert start == "" and text.startswith("\n# ")
    told = yaml.safe_load(front)
    assert told["license"] == "cc-by-4.0"
    assert told["task_categories"] == ["robotics"]
    assert told["size_categories"] == ["n<1K"]
    assert {"droid", "depth"} <= set(told["tags"])
    if layout == "files":
        assert told["viewer"] is False
    else:
        (config,) = told["configs"]
        assert list(place.glob(config["data_files"]))
    made = json.loads(min(depth_out.rglob("quality.json")).read_text())
    config = json.loads(re.search(r"^```json\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)[1])
    assert config == made["config"]
    assert f"droidflow {made['droidflow_version']}." in text
    assert "@inproceedings{khazatsky2024droid" in text


def test_a_card_is_a_commit_of_its_own_and_made_once(droidflow, out, server, environment):
    where = ["--hf-repo", REPO]
    upload(droidflow, out, "files", *where, env=environment)
    (commit,) = [c for c in server.history(REPO) if "card" in c["title"]]
    assert commit["changes"] == 1
    card = download(server, "README.md").decode()
    assert card.endswith(" -->\n") and "# Contact tracks" in card
    commits = len(server.history(REPO))
    assert hub_json(droidflow, "card", *where, env=environment)["outcome"] == "up to date"
    assert len(server.history(REPO)) == commits


def test_a_card_that_a_person_changed_stays(droidflow, out, place):
    upload(droidflow, out, "files", *folder_of(place))
    hub_json(droidflow, "card", *folder_of(place))
    card = place / "README.md"
    text = card.read_text().replace("# Contact tracks", "# Our contact tracks")
    card.unlink()
    card.write_text(text)
    assert hub_json(droidflow, "card", *folder_of(place))["outcome"] == "kept"
    printed = droidflow("hub", "card", *folder_of(place), code=DONE).stdout
    assert "--print shows droidflow's" in printed
    assert card.read_text() == text
    upload(droidflow, out, "files", *folder_of(place))
    assert card.read_text() == text
