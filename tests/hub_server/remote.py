"""The stand-in in a process of its own, for those who measure."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import urllib.parse
import urllib.request


class RunningHub:
    def __init__(self, *arguments: str):
        self._command = [sys.executable, str(pathlib.Path(__file__).parent), *arguments]

    def __enter__(self) -> RunningHub:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        ready = json.loads(self._process.stdout.readline())
        self.endpoint, self.storage, self.token = (
            ready[k] for k in ("endpoint", "storage", "token")
        )
        return self

    def __exit__(self, *_) -> None:
        self._process.terminate()
        self._process.communicate()

    def control(self, verb: str, body=None, method: str | None = None, **query):
        url = f"{self.endpoint}/__control__/{verb}?{urllib.parse.urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data, method=method)) as answer:
            return json.load(answer)

    def tree(self, repo: str, revision: str = "main") -> dict[str, dict]:
        return self.control("tree", repo=repo, rev=revision)

    def violations(self) -> list[str]:
        return self.control("violations")
