"""The scripts with the names of those that droidflow replaces: what they hand on, and to whom."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from conftest import REPOSITORY, content, load
from full_runs import QUICK, differing

METADATA = "run_pipeline_cluster_huggingface_metadata_only_no_depth.sh"
FULL = "run_pipeline_cluster_huggingface_compressed_lossy.sh"
INTRINSICS = "extract_intrinsics_only.py"
TRACKS = "generate_tracks_and_metadata.py"
COMMANDS = {METADATA: "metadata", FULL: "full", INTRINSICS: "intrinsics", TRACKS: "tracks"}
UUID = "AUTOLab+84bd5053+2023-08-18-12h-01m-10s"

# Says in $RECORD what it was called with, and exits with $CODE; its help lists $FLAGS.
FAKE = """#!/bin/sh
if [ "$2" = --help ]; then
  printf '  %s VALUE  what it does\\n' $FLAGS
  exit 0
fi
printf '%s\\n' "$@" > "$RECORD"
printf '%s' "$SKIP_HF_CHECK" > "$RECORD.skip"
exit "${CODE:-0}"
"""
ENVIRONMENT = {
    "LOCAL_DROID_SOURCE": "--droid-root",
    "CAM2BASE_PATH": "--superset",
    "CONFIG_PATH": "--config",
    "DEFAULT_INNER_FINGER_MESH": "--finger-mesh",
    "FAST_LOCAL_DIR": "--scratch-dir",
    "BATCH_METADATA_DIR": "--batch-metadata-dir",
    "HF_REPO_ID": "--hf-repo",
    "HF_METADATA_REPO_ID": "--hf-metadata-repo",
}


def environment(**given) -> dict[str, str]:
    """This process's, without what a script listens to."""
    heard = (*ENVIRONMENT, "DROID", "HF_", "SKIP_HF", "STAGING_", "BATCH_")
    return {k: v for k, v in os.environ.items() if not k.startswith(heard)} | given


def start(script: pathlib.Path, *args, env: dict[str, str], cwd: pathlib.Path):
    interpreter = [sys.executable] if script.suffix == ".py" else []
    return subprocess.run(
        [*interpreter, str(script), *map(str, args)],
        env=env,
        cwd=cwd,
        text=True,
        capture_output=True,
        timeout=60,
    )


@pytest.fixture
def fake(tmp_path) -> pathlib.Path:
    path = tmp_path / "fake"
    path.write_text(FAKE)
    path.chmod(0o755)
    return path


@pytest.fixture
def handed(fake, tmp_path):
    """handed(script, *arguments, flags=…, **environment) -> what droidflow was called with."""

    def call(script: str, *args, flags: str = "", **given) -> list[str]:
        record = tmp_path / "record"
        env = environment(DROIDFLOW_BIN=str(fake), RECORD=str(record), FLAGS=flags, **given)
        done = start(REPOSITORY / "scripts" / script, *args, env=env, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return record.read_text().splitlines()

    return call


@pytest.mark.parametrize(
    "script, line",
    [(METADATA, line) for line in ("", "100", "100 32", "-1", "-1 8 --labs TRI --json")]
    + [(FULL, line) for line in ("", "100", "100 6", "100 6 4", "-1", "-1 3 2 --preset fast")],
)
def test_the_words_of_the_command_line_are_handed_on(handed, script, line):
    assert handed(script, *line.split()) == [COMMANDS[script], *line.split()]


@pytest.mark.parametrize("script", [INTRINSICS, TRACKS])
@pytest.mark.parametrize("name", ["--episode_id", "--episode-id"])
def test_an_episode_is_named_as_before(handed, script, name):
    call = [COMMANDS[script], "--episode-id", UUID]
    assert handed(script, name, UUID) == call
    assert handed(script, f"{name}={UUID}", "--config", "c.yaml") == [*call, "--config", "c.yaml"]
    assert handed(script, name, UUID, "--points", 24) == [*call, "--points", "24"]


def test_a_word_with_spaces_stays_one(handed):
    assert handed(FULL, "--out", "a b")[-1] == "a b"
    root = handed(FULL, flags="--droid-root", LOCAL_DROID_SOURCE="/a b/*")
    assert root == ["full", "--droid-root", "/a b/*"]
    assert handed(TRACKS, "--episode_id", "a b")[-1] == "a b"


@pytest.mark.parametrize("script", [METADATA, FULL])
@pytest.mark.parametrize("variable, flag", ENVIRONMENT.items())
def test_the_environment_becomes_options_that_the_command_has(handed, script, variable, flag):
    command = COMMANDS[script]
    assert handed(script, "5", flags=flag, **{variable: "x"}) == [command, "5", flag, "x"]
    assert handed(script, "5", flags=f"{flag}-other", **{variable: "x"}) == [command, "5"]
    assert handed(script, "5", flags=flag, **{variable: ""}) == [command, "5"]


@pytest.mark.parametrize("given", [["--droid-root", "mine"], ["--droid-root=mine"]])
def test_the_command_line_beats_the_environment(handed, given):
    have = handed(FULL, "5", *given, flags="--droid-root", LOCAL_DROID_SOURCE="theirs")
    assert have == ["full", "5", *given]


@pytest.mark.parametrize("script", [METADATA, FULL])
def test_the_environment_itself_is_handed_on(handed, tmp_path, script):
    handed(script, "100", SKIP_HF_CHECK="1")
    assert (tmp_path / "record.skip").read_text() == "1"


@pytest.fixture
def installed(tmp_path) -> pathlib.Path:
    """A copy of the repository's scripts, to put things beside."""
    to = tmp_path / "house/scripts"
    to.mkdir(parents=True)
    for path in (REPOSITORY / "scripts").glob("*.*"):
        shutil.copy(path, to)
    return to


CALLS = {script: [] for script in (METADATA, FULL)}
CALLS |= {script: ["--episode_id", UUID] for script in (INTRINSICS, TRACKS)}


@pytest.mark.parametrize("script", COMMANDS)
def test_a_configuration_beside_the_script_is_taken_unless_another_is_named(
    fake, installed, tmp_path, script
):
    record = tmp_path / "record"
    (installed / "config.yaml").write_text("")
    env = environment(DROIDFLOW_BIN=str(fake), RECORD=str(record), FLAGS="--config")
    for given, want in ([], installed / "config.yaml"), (["--config", "other"], "other"):
        done = start(installed / script, *CALLS[script], *given, env=env, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        words = record.read_text().splitlines()
        assert words[words.index("--config") + 1 :] == [str(want)]


@pytest.mark.parametrize("script", COMMANDS)
def test_the_program_is_the_one_named_the_one_built_or_that_of_the_path(
    fake, installed, tmp_path, script
):
    def called(**given) -> str:
        record = tmp_path / "record"
        record.unlink(missing_ok=True)
        env = environment(RECORD=str(record), FLAGS="", **given)
        done = start(installed / script, *CALLS[script], env=env, cwd=tmp_path)
        where = (tmp_path / "where").read_text() if record.exists() else ""
        (tmp_path / "where").unlink(missing_ok=True)
        return where if done.returncode == 0 else f"{done.returncode}: {done.stderr}"

    def place(path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = f"#!/bin/sh\nprintf %s {path.parent.name} > {tmp_path}/where\n"
        path.write_text(FAKE.replace("#!/bin/sh\n", words))
        path.chmod(0o755)

    path = os.pathsep.join([str(tmp_path / "path"), "/usr/bin", "/bin"])
    nothing = called(PATH=path)
    assert "DROIDFLOW_BIN" in nothing and nothing[0] != "0", nothing
    place(tmp_path / "path/droidflow")
    assert called(PATH=path) == "path"
    place(tmp_path / "house/build/release/bin/droidflow")
    assert called(PATH=path) == "bin"
    place(tmp_path / "named/droidflow")
    assert called(PATH=path, DROIDFLOW_BIN=str(tmp_path / "named/droidflow")) == "named"


@pytest.mark.parametrize("script", COMMANDS)
def test_a_link_to_a_script_works(fake, tmp_path, script):
    link = tmp_path / script
    link.symlink_to(REPOSITORY / "scripts" / script)
    record = tmp_path / "record"
    env = environment(DROIDFLOW_BIN=str(fake), RECORD=str(record), FLAGS="")
    done = start(link, *CALLS[script], env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record.read_text().splitlines()[0] == COMMANDS[script]


@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_exit_status_is_droidflows(fake, tmp_path, script, code):
    env = environment(DROIDFLOW_BIN=str(fake), RECORD=str(tmp_path / "r"), FLAGS="", CODE=str(code))
    script_path = REPOSITORY / "scripts" / script
    assert start(script_path, *CALLS[script], env=env, cwd=tmp_path).returncode == code


@pytest.mark.parametrize("script", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_the_usage_and_starts_nothing(tmp_path, script, flag):
    env = environment(DROIDFLOW_BIN=str(tmp_path / "absent"))
    done = start(REPOSITORY / "scripts" / script, flag, env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: " in done.stdout.lower() and script in done.stdout
    assert f"droidflow {COMMANDS[script]}" in done.stdout
    assert "set -" not in done.stdout and "#!" not in done.stdout


@pytest.mark.parametrize("script", [INTRINSICS, TRACKS])
def test_without_an_episode_it_is_a_wrong_command_line(fake, tmp_path, script):
    env = environment(DROIDFLOW_BIN=str(fake))
    done = start(REPOSITORY / "scripts" / script, env=env, cwd=tmp_path)
    assert done.returncode == 2 and "--episode_id" in done.stderr


def test_a_program_that_is_not_there_is_named(tmp_path):
    absent = str(tmp_path / "absent")
    for script in COMMANDS:
        env = environment(DROIDFLOW_BIN=absent)
        done = start(REPOSITORY / "scripts" / script, *CALLS[script], env=env, cwd=tmp_path)
        assert done.returncode not in (0, 3) and absent in done.stderr, (script, done.stderr)


# ---------------------------------------------------------------------------- with the real program


@pytest.fixture(scope="module")
def stereo(droidflow, tmp_path_factory):
    """(folder, environment, uuids) of two filmed episodes."""
    folder = tmp_path_factory.mktemp("stereo") / "data"
    size = ["--episodes", 2, "--steps", 4, "--video", "stereo", "--resolution", "VGA"]
    droidflow("synth", folder, *size, code=0)
    config = folder / "config.yaml"
    config.write_text(
        f"droid_root: {folder}/raw\nannotations: {folder}/annotations\nconf_dir: {folder}/conf\n"
        f"output_root: {folder}/out\nnum_track_points: 24\nmax_frames: null\n"
    )
    env = environment(DROIDFLOW_BIN=str(droidflow.binary), CONFIG_PATH=str(config))
    return folder, env, (folder / "episodes.txt").read_text().split()


def test_metadata_from_raw_to_the_queue(droidflow, stereo, tmp_path):
    folder, env, _ = stereo
    scratch = tmp_path / "scratch"
    env = env | {"DROID_NUM_WORKERS": "1", "FAST_LOCAL_DIR": str(scratch)}
    out = tmp_path / "out"
    done = start(REPOSITORY / "scripts" / METADATA, 1, "--out", out, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert scratch.is_dir() and not [p for p in scratch.rglob("*") if p.is_file()]
    (tracks,) = out.glob("*/*/*/*/tracks.npz")
    assert load(tracks)["num_points_per_finger"] == 24
    droidflow("verify", out, code=0)
    flags = [1, 1, "--config", folder / "config.yaml", "--out", tmp_path / "alone"]
    droidflow("metadata", *flags, code=0)
    assert differing(content(out), content(tmp_path / "alone")) == []


def test_full_from_raw_to_both_queues(droidflow, stereo, tmp_path):
    _, env, _ = stereo
    queues = {"BATCH_UPLOAD_DIR": tmp_path / "all", "BATCH_METADATA_DIR": tmp_path / "metadata"}
    env = env | {name: str(path) for name, path in queues.items()} | {"CUDA_VISIBLE_DEVICES": ""}
    flags = [*QUICK, "--out", tmp_path / "out"]
    done = start(REPOSITORY / "scripts" / FULL, -1, *flags, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, count in ("depth.mkv", 6), ("tracks.npz", 2):
        assert len(list(queues["BATCH_UPLOAD_DIR"].rglob(name))) == count
    assert len(list(queues["BATCH_METADATA_DIR"].rglob("tracks.npz"))) == 2
    assert list(queues["BATCH_METADATA_DIR"].rglob("depth*")) == []


@pytest.mark.parametrize("script, name", [(INTRINSICS, "intrinsics.json"), (TRACKS, "tracks.npz")])
def test_one_episode(droidflow, stereo, tmp_path, script, name):
    folder, env, uuids = stereo
    words = ["--config", folder / "config.yaml", "--out", tmp_path / "out"]
    script_path = REPOSITORY / "scripts" / script
    done = start(script_path, "--episode_id", uuids[0], *words, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob(name))
    wrong = start(script_path, "--episode_id", UUID, *words, "--json", env=env, cwd=tmp_path)
    assert wrong.returncode == 10 and UUID in wrong.stderr
    report = start(script_path, "--episode_id", uuids[1], *words, "--json", env=env, cwd=tmp_path)
    assert json.loads(report.stdout)
