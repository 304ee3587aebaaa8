"""`cmake --install` and `cpack`: what is installed runs from anywhere, and says what it needs."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import Droidflow, _unavailable

SCRIPT = "share/droidflow/scripts/run_pipeline_cluster_huggingface_metadata_only_no_depth.sh"


def run(*words, **options) -> str:
    words = [str(word) for word in words]
    done = subprocess.run(words, text=True, capture_output=True, timeout=600, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def build() -> pathlib.Path:
    if "DROIDFLOW_BUILD_DIR" not in os.environ:
        _unavailable("DROIDFLOW_BUILD_DIR does not name the build that is installed")
    return pathlib.Path(os.environ["DROIDFLOW_BUILD_DIR"])


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory) -> pathlib.Path:
    """An installed program whose folder was moved afterwards."""
    first = tmp_path_factory.mktemp("install") / "first"
    run("cmake", "--install", build, "--component", "program", "--strip", "--prefix", first)
    return first.rename(first.parent / "second place")


def files(folder: pathlib.Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


def test_it_has_what_a_user_needs_and_nothing_to_develop_with(prefix):
    names = files(prefix)
    assert names >= {
        "bin/droidflow",
        SCRIPT,
        "share/bash-completion/completions/droidflow",
        "share/doc/droidflow/README.md",
        "share/doc/droidflow/copyright",
        "share/doc/droidflow/docs/running.md",
        "share/fish/vendor_completions.d/droidflow.fish",
        "share/man/man1/droidflow.1.gz",
        "share/zsh/site-functions/_droidflow",
    }
    foreign = re.compile(r"\.(a|h|cmake|pyc)$|bootstrap|demo|tarball")
    assert {name for name in names if foreign.search(name)} == set()


def test_it_runs_in_a_foreign_folder(prefix, tmp_path):
    program = Droidflow(prefix / "bin/droidflow")
    program("synth", "data", "--episodes", 2, "--steps", 20, code=0, cwd=tmp_path)
    inputs = ["--droid-root", "data/raw", "--annotations", "data/annotations"]
    program("metadata", -1, 2, *inputs, "--out", "out", code=0, cwd=tmp_path)
    assert len(list((tmp_path / "out").rglob("tracks.npz"))) == 2
    program("verify", "out", code=0, cwd=tmp_path)
    # The scripts find the program that they were installed with.
    environment = {"PATH": "/usr/bin:/bin"}
    run(prefix / SCRIPT, -1, 1, *inputs, "--out", "again", cwd=tmp_path, env=environment)
    assert len(list((tmp_path / "again").rglob("tracks.npz"))) == 2


def test_the_installed_manual_is_the_programs(prefix):
    page = run("zcat", prefix / "share/man/man1/droidflow.1.gz")
    assert page == run(prefix / "bin/droidflow", "man")


def test_the_debian_package_names_what_it_needs(build, tmp_path):
    missing = [name for name in ("cpack", "dpkg-shlibdeps", "file") if not shutil.which(name)]
    if missing:
        _unavailable(f"no {missing}: scripts/bootstrap package")
    run("cpack", "-G", "DEB", "--config", build / "CPackConfig.cmake", "-B", tmp_path, cwd=tmp_path)
    (package,) = tmp_path.glob("droidflow_*.deb")
    control = run("dpkg-deb", "--field", package)
    fields = dict(re.findall(r"^([\w-]+): (.*)$", control, re.M))
    needs = {need.split()[0] for need in fields["Depends"].split(",")}
    # Linked with, and loaded.
    for name in ("libc6", "libstdc\\+\\+6", "libcurl4(t64)?", "libhdf5-.*", "libfmt.*", "libsqlite3-0"):
        assert any(re.fullmatch(name, need) for need in needs), (name, needs)
    for name in ("avcodec", "avformat", "avutil", "swscale"):
        assert any(re.fullmatch(rf"lib{name}\d+", need) for need in needs), (name, needs)
    assert re.search(r"libc6 \(>= 2\.\d+\)", fields["Depends"])
    assert fields["Package"] == "droidflow" and "droidflow" in fields["Maintainer"]
    run("dpkg-deb", "--extract", package, tmp_path / "root")
    names = files(tmp_path / "root")
    assert {"usr/bin/droidflow", "usr/share/zsh/vendor-completions/_droidflow"} <= names
    assert {name for name in names if not name.startswith("usr/")} == set()
    assert run(tmp_path / "root/usr/bin/droidflow", "man")
