"""HTTP/1.1 on threads, no more than a stand-in needs, and quick: one thread per connection."""

from __future__ import annotations

import json
import os
import select
import socket
import threading
import urllib.parse

CHUNK = 1 << 20
REASONS = {
    200: "OK",
    206: "Partial Content",
    302: "Found",
    307: "Temporary Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    412: "Precondition Failed",
    429: "Too Many Requests",
}


class Dropped(Exception):
    """The connection is to be closed, or was, without an answer."""


class Body:
    """What an answer carries: bytes, or a slice of a file."""

    def __init__(self, data=b"", path: str | None = None, offset: int = 0, size: int | None = None):
        self.data, self.path, self.offset = data, path, offset
        self.size = len(data) if size is None else size


class Response:
    def __init__(self, status: int, headers: dict | None = None, body: Body | bytes | str = b""):
        self.status, self.headers = status, headers or {}
        body = body.encode() if isinstance(body, str) else body
        self.body = body if isinstance(body, Body) else Body(body)
        self.bytes_per_s: float | None = None


class Request:
    """One request; its body is read when asked for."""

    def __init__(self, connection: Connection, method: str, target: str, headers: dict[str, str]):
        self.connection, self.headers = connection, headers
        self.method, self.target = method, target
        self.raw_path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True)) if query else {}
        self.chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        self.length = int(headers.get("content-length") or 0)
        self.received = 0
        self.fault: dict = {}
        self.sip: float | None = None  # bytes per second at which the body is read
        self._unread, self._body = True, b""

    def segments(self) -> list[str]:
        """The path's parts, each decoded once."""
        return [urllib.parse.unquote(part) for part in self.raw_path.split("/")[1:]]

    def bearer(self) -> str | None:
        kind, _, token = self.headers.get("authorization", "").partition(" ")
        return token if kind == "Bearer" else None

    def pieces(self, into=None):
        """The body in pieces: of `into`, which it fills, or valid until the next is asked for."""
        if not self._unread:
            return
        self._unread = False
        if "100-continue" in self.headers.get("expect", "").lower():
            self.connection.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        reader = self.connection.reader
        if self.chunked:
            while size := int(self._line().partition(b";")[0], 16):
                yield self._read(size)
                reader.readline()
            while self._line().strip():
                pass
            return
        step = 1 if self.sip else CHUNK
        buffer = memoryview(bytearray(min(self.length, step)) if into is None else into)
        while left := self.length - self.received:
            if self.sip:
                self.connection.server.stopping.wait(1 / self.sip)
            start = 0 if into is None else self.received
            piece = buffer[start : start + min(left, step)]
            count = reader.readinto(piece)
            if not count:
                raise Dropped(f"body ended {left} bytes early")
            self.received += count
            yield piece[:count]

    def read(self) -> bytes:
        if self._unread:
            self._body = b"".join(bytes(piece) for piece in self.pieces())
        return self._body

    def json(self):
        return json.loads(self.read() or b"null")

    def drain(self) -> None:
        for _ in self.pieces():
            pass

    def _line(self) -> bytes:
        line = self.connection.reader.readline(1 << 16)
        if not line:
            raise Dropped("body ended early")
        return line

    def _read(self, size: int) -> bytes:
        data = self.connection.reader.read(size)
        self.received += len(data)
        if len(data) < size:
            raise Dropped("body ended early")
        return data


class Connection:
    def __init__(self, server: Server, sock: socket.socket):
        self.server, self.socket = server, sock
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = sock.makefile("rb", 1 << 16)

    def serve(self) -> None:
        try:
            while self._one():
                pass
        except (Dropped, OSError, ValueError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        for end in (lambda: self.socket.shutdown(socket.SHUT_RDWR), self.socket.close):
            try:
                end()
            except OSError:
                pass
        self.server.connections.discard(self)

    def wait_for_end(self) -> None:
        """Holds the line until the other side hangs up or the server stops."""
        while not self.server.stopping.is_set():
            readable, _, _ = select.select([self.socket], [], [], 0.1)
            if readable and not self.socket.recv(1 << 16):
                break
        raise Dropped("nobody waits any more")

    def _one(self) -> bool:
        line = self.reader.readline(1 << 16)
        if not line:
            return False
        method, target, version = line.decode("latin-1").split()
        headers: dict[str, str] = {}
        while (line := self.reader.readline(1 << 16)) not in (b"\r\n", b"\n", b""):
            name, _, value = line.partition(b":")
            headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
        request = Request(self, method, target, headers)
        response = self.server.handle(request)
        request.drain()
        close = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        self._send(response, method == "HEAD", close)
        return not close

    def _send(self, response: Response, head_only: bool, close: bool) -> None:
        body = response.body
        head = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Status')}"]
        if not any(name.lower() == "content-length" for name in response.headers):
            head.append(f"Content-Length: {body.size}")
        head += [f"{name}: {value}" for name, value in response.headers.items()]
        if close:
            head.append("Connection: close")
        start = ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")
        if head_only or not body.size:
            self.socket.sendall(start)
        elif body.path is not None:
            self.socket.sendall(start)
            with open(body.path, "rb") as file:
                offset, left = body.offset, body.size
                while left:
                    sent = os.sendfile(self.socket.fileno(), file.fileno(), offset, left)
                    offset, left = offset + sent, left - sent
        else:
            data = memoryview(body.data)[body.offset : body.offset + body.size]
            if response.bytes_per_s:
                self.socket.sendall(start)
                for at in range(len(data)):
                    self.socket.sendall(data[at : at + 1])
                    self.server.stopping.wait(1 / response.bytes_per_s)
            elif len(data) < 1 << 16:
                self.socket.sendall(start + bytes(data))
            else:
                self.socket.sendall(start)
                self.socket.sendall(data)


class Server:
    """Listens on one port; `handle(request)` answers, or raises Dropped to hang up."""

    def __init__(self, host: str, port: int, handle):
        self.handle = handle
        self.stopping = threading.Event()
        self.connections: set[Connection] = set()
        self.listener = socket.create_server((host, port), backlog=1024)
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            if self.stopping.is_set():
                sock.close()
                return
            connection = Connection(self, sock)
            self.connections.add(connection)
            threading.Thread(target=connection.serve, daemon=True).start()

    def stop(self) -> None:
        self.stopping.set()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.thread.join()
        for connection in list(self.connections):
            connection.close()
