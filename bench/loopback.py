"""A loopback OpenAI-compatible server with a fixed latency, for measuring everything else.

Raw asyncio, so that a request costs little of the CPU it shares with what is measured:
``python -m bench.loopback --port 0 --latency 0.2`` prints its base URL; ``GET /stats`` tells how
many requests came, how many had a body seen before, the most in flight and the CPU used.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import resource
import sys
from collections import Counter
from collections.abc import Callable

from providers.clients.scripted import Scenario, Script, Step

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class Loopback:
    """What all connections share: the script that makes answers, and the counts."""

    def __init__(self, latency: float, scenario: Scenario) -> None:
        self.latency = latency
        self.script = Script(scenario)
        self.requests: Counter[str] = Counter()
        self.texts = 0
        self.bodies: Counter[bytes] = Counter()
        self.answers: dict[bytes, bytes] = {}
        self.in_flight = 0
        self.most_in_flight = 0
        self.first_at = 0.0
        self.last_at = 0.0

    def answer(self, path: bytes, content: bytes) -> bytes | None:
        """The whole response, or ``None`` where there is nothing."""
        if path.endswith(b"/chat/completions"):
            return self._made("chat", content, lambda body: self.script.chat(Step(), body))
        if path.endswith(b"/embeddings"):
            return self._made("embeddings", content, self.script.embeddings)
        if path.endswith(b"/models"):
            return _response({"object": "list", "data": [{"id": "loopback"}]})
        return None

    def _made(self, kind: str, content: bytes, make: Callable[[dict], dict]) -> bytes:
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self.requests[kind] += 1
        self.bodies[digest] += 1
        known = self.answers.get(digest)
        if known is None:
            known = self.answers[digest] = _response(make(json.loads(content)))
        return known

    def stats(self) -> bytes:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return _response(
            {
                "requests": sum(self.requests.values()),
                **self.requests,
                "repeated": sum(count - 1 for count in self.bodies.values()),
                "most_in_flight": self.most_in_flight,
                "seconds": round(self.last_at - self.first_at, 3),
                "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3),
            }
        )


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests are answered in order."""

    def __init__(self, shared: Loopback) -> None:
        self.shared = shared
        self.loop = asyncio.get_running_loop()
        self.buffer = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head = self.buffer[:end]
            length = _content_length(head)
            if len(self.buffer) < end + 4 + length:
                return
            content = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.handle(head.split(b" ", 2)[1], content)

    def handle(self, path: bytes, content: bytes) -> None:
        shared = self.shared
        if path == b"/stats":
            self.send(shared.stats())
            return
        shared.last_at = self.loop.time()
        shared.first_at = shared.first_at or shared.last_at
        shared.in_flight += 1
        shared.most_in_flight = max(shared.most_in_flight, shared.in_flight)
        due = shared.last_at + shared.latency
        try:
            answer = shared.answer(path, content) or NOT_FOUND
        except ValueError:
            answer = NOT_FOUND
        self.loop.call_at(due, self.finish, answer)

    def finish(self, answer: bytes) -> None:
        self.shared.in_flight -= 1
        self.shared.last_at = self.loop.time()
        self.send(answer)

    def send(self, answer: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(answer)


def _content_length(head: bytes) -> int:
    lower = head.lower()
    start = lower.find(b"\r\ncontent-length:")
    return int(lower[start + 17 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def _response(body: dict) -> bytes:
    content = json.dumps(body).encode()
    return OK % len(content) + content


async def serve(host: str, port: int, latency: float, scenario: Scenario | None = None) -> None:
    """Serve until cancelled; the base URL is the first line on standard output."""
    shared = Loopback(latency, scenario or Scenario())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(shared), host, port, backlog=1024)
    bound = server.sockets[0].getsockname()[1]
    sys.stdout.write(f"http://{host}:{bound}/v1\n")
    sys.stdout.flush()
    async with server:
        await server.serve_forever()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds a request")
    options = parser.parse_args()
    try:
        asyncio.run(serve(options.host, options.port, options.latency))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
