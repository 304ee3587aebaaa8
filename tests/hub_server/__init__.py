"""A stand-in of the Hugging Face Hub for tests: data sets and models, history, LFS, and faults.

    from hub_server import HubServer                     in pytest
    python3 tests/hub_server --port 0 --storage-port 0   elsewhere: prints one line of JSON

What the Hub says at present: uploads of clients without Xet go by Git LFS (basic and multipart),
also to repositories that are stored in Xet (docs/hub/xet/legacy-git-lfs); huggingface_hub 1.33
does so with HF_HUB_DISABLE_XET=1, not by itself (its issues 4507 and 4786).

The user of token hf_test is `tester`, in the organisation `lab`. Storage is an origin of its own,
on another address: it refuses and records as violations Authorization, chunked bodies, wrong
lengths. Other processes look and interfere below /__control__/ of the Hub's origin: GET
requests?after=N, violations, faults, history?repo=NS/NAME&rev=REV, tree?repo=NS/NAME&rev=REV; POST
faults (a rule or a list, see faults.py), do (Hub.do), tokens {token: role}, options (Options);
DELETE faults.
"""

from __future__ import annotations

import contextlib
import re

from .hub import Hub, Options

__all__ = ["HubServer", "Options"]


class HubServer:
    """The stand-in on threads of this process. Keyword arguments: fields of Options."""

    def __init__(self, port: int = 0, storage_port: int = 0, data=None, tokens=None, **options):
        self._arguments = ("127.0.0.1", port, "127.0.0.2", storage_port, data, Options(**options))
        self._tokens = tokens

    def start(self) -> HubServer:
        self.hub = Hub(*self._arguments)
        if self._tokens:
            self.hub.tokens = dict(self._tokens)
        return self

    def stop(self) -> None:
        self.hub.stop()

    def __enter__(self) -> HubServer:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        return self.hub.url

    @property
    def storage(self) -> str:
        return self.hub.storage_url

    @property
    def token(self) -> str:
        return next(iter(self.hub.tokens))

    @property
    def options(self) -> Options:
        return self.hub.options

    @property
    def requests(self) -> list[dict]:
        """Every request so far; `status` None: not answered (yet)."""
        return list(self.hub.requests)

    @property
    def violations(self) -> list[str]:
        return list(self.hub.violations)

    def asked(self, method: str = "", path: str = "", **fields) -> list[dict]:
        """Requests with this method and these fields, whose path or query matches the pattern."""
        return [
            request
            for request in self.requests
            if method in ("", request["method"])
            and re.search(path, request["path"])
            and all(request[name] == value for name, value in fields.items())
        ]

    def inject(self, fault: dict | None = None, **rule):
        """Adds a rule of faults.py; the object returned counts its `hits`."""
        return self.hub.faults.add({**(fault or {}), **rule})

    def heal(self) -> None:
        """No fault any more."""
        self.hub.faults.clear()

    def do(self, **what) -> None:
        self.hub.do(what)

    def history(self, repo: str, revision: str = "main", kind: str = "dataset") -> list[dict]:
        return self.hub.history(repo, revision, kind)

    def tree(self, repo: str, revision: str = "main", kind: str = "dataset") -> dict[str, dict]:
        return self.hub.tree(repo, revision, kind)

    @contextlib.contextmanager
    def fault(self, **rule):
        """A fault for the time of a block."""
        added = self.inject(**rule)
        try:
            yield added
        finally:
            self.heal()
