"""Streamed chat completions: from the lines of server-sent events to pieces of text.

The events are those of OpenAI's API reference ("Streaming"): ``data:`` lines that each hold a
chunk, closed by ``[DONE]``; the framing is that of the HTML standard, "Server-sent events". Every
line is hostile: it is parsed, bounded by what an answer may weigh, and never repeated in a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from providers.clients.reading import read_chat, read_error, read_usage, text_of
from providers.clients.wire import NOT_COMPATIBLE, parse_json
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.quota import read_quota
from providers.gateway.types import StreamPiece, WireAnswer

BROKEN = "the answer broke off"


def event_data(line: bytes) -> bytes | None:
    """What a ``data:`` line carries; ``None`` for comments, other fields and blank lines."""
    return line[5:].strip() if line.startswith(b"data:") else None


def begun(fault: Fault) -> Fault:
    """A fault reported inside an answer: it may be billed whatever status the error names."""
    return Fault(
        fault.error_class,
        fault.detail,
        status=200,
        retry_after=fault.retry_after,
        unsure=fault.unsure,
    )


class ChunkReader:
    """Reads one streamed answer; feed it lines, then ask for the end."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._headers: Mapping[str, str] = {}
        self._plain: list[bytes] = []
        self._answer = WireAnswer(text="", finish_reason="")
        self._began = self._done = False

    def read(self, line: bytes, headers: Mapping[str, str]) -> list[StreamPiece]:
        """The text in a line. Raises :class:`Fault` for an error the server reports in it."""
        self._headers = headers
        data = event_data(line)
        if data is None:
            if not self._began and not line.startswith((b":", b"event:", b"id:", b"retry:")):
                self._plain.append(line)
            return []
        self._began = True
        if data == b"[DONE]":
            self._done = True
            return []
        chunk = parse_json(data)
        if not isinstance(chunk, dict):
            raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=200)
        return self._chunk(chunk)

    def end(self) -> list[StreamPiece]:
        """The last pieces, once no line is left. Raises :class:`Fault` if the answer is not whole.

        A server that does not stream answers in one object, which is given as one piece.
        """
        quota = read_quota(self._headers, self._now)
        if not self._began:
            whole = self._whole()
            return [StreamPiece(whole.text), StreamPiece(end=replace(whole, text="", quota=quota))]
        answer = self._answer
        if answer.finish_reason == "content_filter":
            raise Fault(ErrorClass.CONTENT_FILTER, "the answer was withheld")
        if not answer.finish_reason and not self._done:
            raise Fault(ErrorClass.NETWORK, BROKEN)
        finish = answer.finish_reason or "stop"
        return [StreamPiece(end=replace(answer, finish_reason=finish, quota=quota))]

    def _whole(self) -> WireAnswer:
        body = parse_json(b"\n".join(self._plain))
        if not isinstance(body, dict):
            raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=200)
        return read_chat(body, self._now)

    def _chunk(self, chunk: Mapping[str, Any]) -> list[StreamPiece]:
        fault = read_error(chunk, self._now)
        if fault is not None:
            raise begun(fault)
        self._answer = replace(self._answer, **read_usage(chunk))
        try:
            choices = chunk.get("choices") or [{}]
            choice = choices[0]
            finish = choice.get("finish_reason")
            text = text_of((choice.get("delta") or {}).get("content"))
        except (AttributeError, TypeError, KeyError, IndexError):
            raise Fault(ErrorClass.SERVER, NOT_COMPATIBLE, status=200) from None
        if isinstance(finish, str) and finish:
            self._answer = replace(self._answer, finish_reason=finish[:40])
        return [StreamPiece(text)] if text else []
