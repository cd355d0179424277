"""An HTTP proxy that fails now and then: 500, 503, a dropped request, a lost answer, half an answer.

    faults.py PORT SEED SHARE

It stands in front of 127.0.0.1:PORT, prints its own port, ends with its standard input, and then says what it did.
"""

from __future__ import annotations

import http.client
import json
import random
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KINDS = ("500", "503", "dropped request", "lost answer", "half an answer")
HOP_BY_HOP = ("content-length", "connection", "transfer-encoding", "expect")


class Faults:
    """Which requests are spoiled, and how: drawn from a seed, one number per request, in order of arrival."""

    def __init__(self, seed: int, share: float) -> None:
        self._random, self._share, self._lock = random.Random(seed), share, threading.Lock()
        self.requests = 0
        self.done: Counter[str] = Counter()

    def next(self) -> str:
        """The fault of the next request; empty for none."""
        with self._lock:
            self.requests += 1
            if self._random.random() >= self._share:
                return ""
            kind = self._random.choice(KINDS)
            self.done[kind] += 1
            return kind


def handler(port: int, faults: Faults) -> type[BaseHTTPRequestHandler]:
    """What answers a request: the server behind, or a fault."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self._body()
            fault = faults.next()
            if fault in ("500", "503"):
                self._answer(int(fault), [], b"")
                return
            if fault != "dropped request":
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                headers = {n: v for n, v in self.headers.items() if n.lower() not in HOP_BY_HOP}
                upstream.request(self.command, self.path, body, headers)
                answer = upstream.getresponse()
                content = answer.read()
                upstream.close()
                if not fault:
                    self._answer(answer.status, answer.getheaders(), content)
                    return
                if fault == "half an answer":
                    self._answer(answer.status, answer.getheaders(), content[: len(content) // 2])
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            """The length is that of the whole answer, which HEAD never sends and a fault sends half of."""
            self.send_response_only(status)
            lengths = [value for name, value in headers if name.lower() == "content-length"]
            for name, value in headers:
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            self.send_header("Content-Length", lengths[0] if lengths else str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


def main() -> None:
    port, seed, share = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    faults = Faults(seed, share)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(port, faults))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("port", server.server_port, flush=True)
    sys.stdin.read()
    print(json.dumps({"requests": faults.requests, "faults": faults.done}), flush=True)


if __name__ == "__main__":
    main()
