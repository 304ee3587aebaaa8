"""The documentation: what it shows is run as it stands, what it points to is there."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = [REPOSITORY / "README.md", REPOSITORY / "python/README.md", *sorted(DOCS.glob("**/*.md"))]


def blocks(page: pathlib.Path) -> list[tuple[str, str]]:
    """(language, code) of each fenced block that names a language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def test_the_tutorial_runs_as_it_stands(droidflow, tmp_path):
    script = ["set -euo pipefail"]
    for number, (language, code) in enumerate(blocks(DOCS / "tutorial.md")):
        assert language in ("sh", "python")
        if language == "python":
            (tmp_path / f"{number}.py").write_text(code)
            code = f"{sys.executable} {number}.py\n"
        script.append(f"echo '== block {number}'\n{code}")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "droidflow").symlink_to(pathlib.Path(droidflow.binary).resolve())
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY / "python/src"),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    for name in ("tracks.png", "report.html", "episode.mcap", "depth.png", "results/meta/episodes.jsonl", "hub"):
        assert (tmp_path / name).exists(), name
    assert re.search(r"^3 \(\d+, 960, 3\) \(\d+, 960, 3\) 0?\.?\d+.* mm$", done.stdout, re.MULTILINE), done.stdout[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_commands_that_pages_name_are_there(droidflow):
    known = set(re.findall(r"^  ([a-z][a-z-]+) ", droidflow("--help", code=0).stdout, re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`droidflow ([a-z][a-z-]+)[ `]", page.read_text()))
        assert named <= known | {"completion", "man"}, page
