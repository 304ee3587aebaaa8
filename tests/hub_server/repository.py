"""Repositories with their history: trees, commits, large objects, and what a commit may hold."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import datetime
import functools
import hashlib
import itertools
import json
import os
import pathlib
import re
import tempfile
import threading

from .wire import Body

MIB = 1 << 20
BINARY_LIMIT, REGULAR_LIMIT, LFS_LINES_LIMIT = 1 * MIB, 10 * MIB, 25_000

_LFS = "filter=lfs diff=lfs merge=lfs -text"
_EXTENSIONS = """7z arrow bin bz2 ckpt ftz gz h5 joblib lz4 mds mlmodel model msgpack npy npz onnx
ot parquet pb pickle pkl pt pth rar safetensors tar tflite tgz wasm xz zip zst pcm sam raw aac flac
mp3 ogg wav bmp gif png tiff jpg jpeg webp mp4 webm""".split()
DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} {_LFS}\n"
    for pattern in [
        *(f"*.{extension}" for extension in _EXTENSIONS),
        "*.lfs.*",
        "saved_model/**/*",
        "*.tar.*",
        "*tfevents*",
    ]
)


class Refusal(Exception):
    """An answer that is not 200."""

    def __init__(self, status: int, message: str, code: str | None = None, **more):
        super().__init__(message)
        self.status, self.message, self.code, self.more = status, message, code, more


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file at a commit. `data` of a regular file; of a large one the pointer, `sha256` set."""

    oid: str
    size: int
    data: bytes
    sha256: str | None = None

    def listed(self, path: str) -> dict:
        told = {"type": "file", "oid": self.oid, "size": self.size, "path": path}
        if self.sha256:
            told["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": len(self.data)}
        return told


def git_oid(data: bytes, kind: str = "blob") -> str:
    return hashlib.sha1(b"%s %d\0" % (kind.encode(), len(data)) + data).hexdigest()


def regular(data: bytes) -> Entry:
    return Entry(git_oid(data), len(data), data)


def large(sha256: str, size: int) -> Entry:
    pointer = (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )
    return Entry(git_oid(pointer), size, pointer, sha256)


def parents(path: str):
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
    yield ""


class Tree:
    """Files by path; how many entries each folder has ("" is the root)."""

    def __init__(self, other: Tree | None = None):
        self.files: dict[str, Entry] = dict(other.files) if other else {}
        self.folders: dict[str, int] = dict(other.folders) if other else {"": 0}
        self._below: dict[tuple[str, bool], list[dict]] = {}

    def put(self, path: str, entry: Entry) -> None:
        if path not in self.files:
            if path in self.folders:
                raise Refusal(400, f"{path} is a folder")
            for folder in parents(path):
                if folder in self.files:
                    raise Refusal(400, f"{folder} is a file")
                known = folder in self.folders
                self.folders[folder] = self.folders.get(folder, 0) + 1
                if known:
                    break
        self.files[path] = entry

    def remove(self, path: str) -> None:
        del self.files[path]
        for folder in parents(path):
            self.folders[folder] -= 1
            if self.folders[folder] or not folder:
                break
            del self.folders[folder]

    def text(self, path: str) -> str:
        return self.files[path].data.decode() if path in self.files else ""

    @functools.cached_property
    def listing(self) -> dict[str, dict]:
        """Files and folders as the tree endpoint tells of them, by path, sorted."""
        below: dict[str, list[str]] = {folder: [] for folder in self.folders}
        for path, entry in self.files.items():
            for folder in parents(path):
                below[folder].append(entry.oid)
        rows = {path: entry.listed(path) for path, entry in self.files.items()}
        for folder, oids in below.items():
            if folder:
                oid = git_oid("".join(oids).encode(), "tree")
                rows[folder] = {"type": "directory", "oid": oid, "size": 0, "path": folder}
        return dict(sorted(rows.items()))

    def below(self, folder: str, recursive: bool) -> list[dict]:
        if (folder, recursive) in self._below:
            return self._below[folder, recursive]
        start = folder + "/" if folder else ""
        self._below[folder, recursive] = found = [
            row
            for path, row in self.listing.items()
            if path.startswith(start) and (recursive or "/" not in path[len(start) :])
        ]
        return found


@dataclasses.dataclass(frozen=True)
class Commit:
    oid: str
    parent: str | None
    title: str
    message: str
    date: str
    author: str
    tree: Tree
    changes: int  # lines that changed something

    def told(self) -> dict:
        return {
            "id": self.oid,
            "parents": [self.parent] if self.parent else [],
            "title": self.title,
            "message": self.message,
            "date": self.date,
            "authors": [{"user": self.author, "avatar": ""}],
        }


# -------------------------------------------------------------------- .gitattributes and .gitignore


def _glob(pattern: str, anchored: bool) -> str:
    parts, at = [], 0
    while at < len(pattern):
        for start, meaning in (
            ("**/", "(?:.*/)?"),
            ("/**", "/.*"),
            ("**", ".*"),
            ("*", "[^/]*"),
            ("?", "[^/]"),
            ("[[:space:]]", r"\s"),
        ):
            if pattern.startswith(start, at):
                parts.append(meaning)
                at += len(start)
                break
        else:
            if pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
                inside = pattern[at + 1 : end].replace("\\", "\\\\")
                parts.append("[" + re.sub(r"^!", "^", inside) + "]")
                at = end + 1
                continue
            at += pattern[at] == "\\" and at + 1 < len(pattern)
            parts.append(re.escape(pattern[at]))
            at += 1
    return ("" if anchored else "(?:.*/)?") + "".join(parts)


def _rules(lines):
    """(wanted, regex) of runs of equal lines, last first: the first that matches decides."""
    runs = [
        (wanted, re.compile("|".join(glob for _, glob in run), re.DOTALL))
        for wanted, run in itertools.groupby(lines, key=lambda line: line[0])
    ]
    return runs[::-1]


@functools.lru_cache(256)
def _attribute_rules(text: str):
    lines = []
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        pattern, *attributes = words
        anchored = "/" in pattern.strip("/") or pattern.startswith("/")
        for attribute in attributes:
            if attribute.lstrip("-!").partition("=")[0] == "filter":
                lines.append((attribute == "filter=lfs", _glob(pattern.lstrip("/"), anchored)))
    return _rules(lines)


@functools.lru_cache(64)
def _ignore_rules(text: str):
    lines = []
    for line in text.splitlines():
        pattern = line.rstrip()
        if not pattern or pattern.startswith("#"):
            continue
        wanted = not pattern.startswith("!")
        pattern = pattern.lstrip("!")
        inside = "/.*" if pattern.endswith("/") else "(?:/.*)?"
        pattern = pattern.rstrip("/")
        lines.append((wanted, _glob(pattern.lstrip("/"), "/" in pattern) + inside))
    return _rules(lines)


def _decide(rules, path: str) -> bool:
    return next((wanted for wanted, regex in rules if regex.fullmatch(path)), False)


def covered_by_lfs(attributes: str, path: str) -> bool:
    return _decide(_attribute_rules(attributes), path)


def ignored(ignore: str, path: str) -> bool:
    return _decide(_ignore_rules(ignore), path)


def looks_binary(sample: bytes) -> bool:
    if b"\0" in sample:
        return True
    try:
        sample.decode()
    except UnicodeDecodeError as error:
        return error.start < len(sample) - 3  # not only a letter cut at the end
    return False


def attribute_line(path: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", path).replace(" ", "[[:space:]]") + f" {_LFS}\n"


# ------------------------------------------------------------------------------------ large objects


class Blob:
    """Bytes of a large file, in memory or in a file, written in any order."""

    def __init__(self, size: int, folder: pathlib.Path | None):
        self.size, self.path = size, None
        self._data = None if folder else bytearray(size)
        if folder:
            self._file, self.path = tempfile.mkstemp(dir=folder)

    def room(self, at: int, size: int):
        """Where to write in memory; none: in a file."""
        return None if self.path else memoryview(self._data)[at : at + size]

    def write(self, at: int, piece) -> None:
        if self.path:
            os.pwrite(self._file, piece, at)

    def close(self) -> None:
        if self.path:
            os.close(self._file)

    def cut(self, size: int) -> None:
        self.size = size

    def sha256(self) -> str:
        if not self.path:
            return hashlib.sha256(memoryview(self._data)[: self.size]).hexdigest()
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def body(self) -> Body:
        return Body(self._data or b"", self.path, size=self.size)

    def discard(self) -> None:
        if self.path:
            os.unlink(self.path)


# --------------------------------------------------------------------------------------- repository


@dataclasses.dataclass
class Line:
    """One operation of a commit."""

    key: str
    path: str
    data: bytes = b""
    sha256: str = ""
    size: int | None = None


_BAD_SEGMENT = {"", ".", "..", ".git", ".cache"}


def check_path(path) -> str:
    if not isinstance(path, str) or "\\" in path or _BAD_SEGMENT & set(path.split("/")):
        raise Refusal(422, f"Invalid path: {path!r}")
    return path


def parse_commit(body: bytes) -> tuple[dict, list[Line]]:
    header, lines = None, []
    for number, text in enumerate(body.split(b"\n"), 1):
        if not text.strip():
            continue
        try:
            item = json.loads(text)
            key, value = item["key"], item["value"]
            if key == "header":
                header = value
            elif key == "file":
                content = value["content"]
                data = (
                    base64.b64decode(content, validate=True)
                    if value.get("encoding") == "base64"
                    else content.encode()
                )
                lines.append(Line(key, check_path(value["path"]), data))
            elif key == "lfsFile":
                if value["algo"] != "sha256" or not re.fullmatch("[0-9a-f]{64}", value["oid"]):
                    raise ValueError("want algo sha256 and 64 hex digits")
                path = check_path(value["path"])
                lines.append(Line(key, path, sha256=value["oid"], size=value.get("size")))
            elif key in ("deletedFile", "deletedFolder"):
                lines.append(Line(key, check_path(value["path"].rstrip("/"))))
            else:
                raise ValueError(f"unknown key {key!r}")
        except (KeyError, TypeError, ValueError, binascii.Error) as error:
            raise Refusal(422, f"line {number}: {type(error).__name__}: {error}") from error
    if not header or not header.get("summary"):
        raise Refusal(400, "the first line must be a header with a summary")
    return header, lines


class Repository:
    """Thread  every method that changes something takes `lock`: commits are made one by one."""

    def __init__(self, kind: str, name: str, private: bool, attributes: str, author: str):
        self.kind, self.name, self.private = kind, name, private
        self.gated: bool | str = False
        self.disabled = self.read_only = False
        self.lock = threading.RLock()
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.discussions: list[dict] = []
        self.objects: dict[str, Blob] = {}
        self.serial = itertools.count(1)
        tree = Tree()
        tree.put(".gitattributes", regular(attributes.encode()))
        self.refs["main"] = self.add(None, tree, "initial commit", "", author, 1)

    # -------------------------------------------------------------------------------------- reading

    def resolve(self, revision: str) -> Commit:
        oid = self.refs.get(revision.removeprefix("refs/heads/"), revision)
        if oid not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str = "main") -> list[Commit]:
        """Newest first."""
        found, commit = [], self.resolve(revision)
        while commit:
            found.append(commit)
            commit = self.commits[commit.parent] if commit.parent else None
        return found

    def has_object(self, sha256: str, size: int | None) -> bool:
        stored = self.objects.get(sha256)
        return stored is not None and size in (None, stored.size)

    # -------------------------------------------------------------------------------------- writing

    def add(self, parent, tree: Tree, title: str, message: str, author: str, changes: int) -> str:
        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        text = f"{next(self.serial)} {parent} {self.name} {title} {message} {date}"
        oid = git_oid(text.encode(), "commit")
        self.commits[oid] = Commit(oid, parent, title, message, date, author, tree, changes)
        return oid

    def branch(self, name: str, start: str) -> None:
        with self.lock:
            if name.startswith("refs/"):
                raise Refusal(400, f"Invalid branch name: {name}")
            if name in self.refs:
                raise Refusal(409, f"Reference already exists: {name}")
            self.refs[name] = self.resolve(start).oid

    def pull_request(self, title: str, author: str) -> int:
        with self.lock:
            number = len(self.discussions) + 1
            self.discussions.append({"num": number, "title": title, "author": author})
            self.refs[f"refs/pr/{number}"] = self.refs["main"]
            return number

    def squash(self, branch: str, message: str, author: str) -> None:
        with self.lock:
            tree = self.resolve(branch).tree
            self.refs[branch] = self.add(None, tree, message, "", author, len(tree.files))

    def collect_garbage(self) -> int:
        """Forgets objects that no commit names; returns how many."""
        with self.lock:
            named = {e.sha256 for c in self.commits.values() for e in c.tree.files.values()}
            lost = [oid for oid in self.objects if oid not in named]
            for oid in lost:
                self.objects.pop(oid).discard()
            return len(lost)

    def commit(self, ref: str, body: bytes, author: str, folder_limit: int) -> Commit:
        header, lines = parse_commit(body)
        if sum(line.key == "lfsFile" for line in lines) > LFS_LINES_LIMIT:
            raise Refusal(413, f"too many LFS files in one commit: at most {LFS_LINES_LIMIT}")
        with self.lock:
            if ref not in self.refs:
                raise Refusal(404, f"Invalid rev id: {ref}", "RevisionNotFound")
            head = self.resolve(ref)
            parent = header.get("parentCommit")
            if parent is not None and (len(parent) < 5 or not head.oid.startswith(parent)):
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            self._check_content(lines)
            tree = Tree(head.tree)
            for line in lines:
                self._apply(tree, line)
            self._extend_attributes(tree, lines)
            self._check_folders(tree, lines, folder_limit)
            changed = sum(
                getattr(tree.files.get(p), "oid", None)
                != getattr(head.tree.files.get(p), "oid", None)
                for p in {line.path for line in lines}
            )
            message = header.get("description") or ""
            oid = self.add(head.oid, tree, header["summary"], message, author, changed)
            self.refs[ref] = oid
            return self.commits[oid]

    def _apply(self, tree: Tree, line: Line) -> None:
        if line.key == "file":
            tree.put(line.path, regular(line.data))
        elif line.key == "lfsFile":
            tree.put(line.path, large(line.sha256, self.objects[line.sha256].size))
        elif line.key == "deletedFile":
            if line.path not in tree.files:
                raise Refusal(400, f"no such file: {line.path}", "EntryNotFound")
            tree.remove(line.path)
        else:
            inside = [path for path in tree.files if path.startswith(line.path + "/")]
            if not inside:
                raise Refusal(400, f"no such folder: {line.path}", "EntryNotFound")
            for path in inside:
                tree.remove(path)

    def _check_content(self, lines: list[Line]) -> None:
        rejected = "Your push was rejected because "
        missing = [
            line.path
            for line in lines
            if line.key == "lfsFile" and not self.has_object(line.sha256, line.size)
        ]
        if missing:
            raise Refusal(
                400,
                rejected
                + "an LFS pointer pointed to a file that does not exist. Please make sure that all "
                "files have been uploaded. Offending file: - "
                + "\nOffending file: - ".join(missing),
            )
        huge = [line.path for line in lines if len(line.data) > REGULAR_LIMIT]
        if huge:
            raise Refusal(
                400,
                rejected
                + "it contains files larger than 10 MiB. Please use https://git-lfs.github.com/"
                " to store large files. Offending files:\n- " + "\n- ".join(huge),
            )
        binary = [
            line.path
            for line in lines
            if len(line.data) > BINARY_LIMIT and looks_binary(line.data[:8000])
        ]
        if binary:
            raise Refusal(
                400,
                rejected
                + "it contains binary files. Please use https://git-lfs.github.com/ to store "
                "binary files. Offending files:\n- " + "\n- ".join(binary),
            )

    def _extend_attributes(self, tree: Tree, lines: list[Line]) -> None:
        text = tree.text(".gitattributes")
        added = [
            attribute_line(line.path)
            for line in lines
            if line.key == "lfsFile" and not covered_by_lfs(text, line.path)
        ]
        if added:
            text = text + ("\n" if text and not text.endswith("\n") else "") + "".join(added)
            if len(text) > REGULAR_LIMIT:
                raise Refusal(
                    400,
                    "Your push was rejected because it contains files larger than 10 MiB. "
                    "Offending files:\n- .gitattributes",
                )
            tree.put(".gitattributes", regular(text.encode()))

    def _check_folders(self, tree: Tree, lines: list[Line], limit: int) -> None:
        touched = {folder for line in lines for folder in parents(line.path)}
        full = sorted(folder or "/" for folder in touched if tree.folders.get(folder, 0) > limit)
        if full:
            raise Refusal(
                400,
                "Your push was rejected because it contains too many files per directory. Each "
                f"directory in your git repo can only contain up to {limit} files. Offending "
                "directories:\n- " + "\n- ".join(full),
            )
