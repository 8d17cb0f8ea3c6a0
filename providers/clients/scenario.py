"""What a scripted provider is told to do: acts, how often each, and the limits it keeps."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Act(StrEnum):
    """What may happen to a request."""

    SUCCESS = "success"
    SLOW = "slow"
    SLOW_TAIL = "slow_tail"
    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not_found"
    CONTEXT_LENGTH = "context_length"
    CONTENT_FILTER = "content_filter"
    SERVER_ERROR = "server_error"
    REFUSED = "refused"
    DROPPED = "dropped"
    HANG = "hang"
    HANG_MIDWAY = "hang_midway"
    DROP_MIDWAY = "drop_midway"
    TOOL_ERROR = "tool_error"
    INVALID_JSON = "invalid_json"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    WRONG_SCHEMA = "wrong_schema"
    NOT_JSON = "not_json"


class Step(BaseModel):
    """One thing that may happen, and how often in relation to the others.

    ``seconds`` is added latency; with ``slow_tail`` it is the least of it, and now and then it is
    very much more. ``retry_after`` is the header of a 429 (seconds, or ``None`` for none).
    ``tokens`` is how many a ``drop_midway`` lets through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    act: Act = Act.SUCCESS
    weight: float = Field(default=1.0, ge=0)
    seconds: float = Field(default=0.0, ge=0)
    retry_after: float | None = None
    tokens: int = Field(default=5, ge=0)


class BatchScript(BaseModel):
    """What becomes of batches.

    They are worked off after ``seconds``. ``missing``, ``expired`` and ``failed`` are the parts of
    lines that come to that, each line at most ``bad_times`` times. The first ``refused`` batches
    are taken and then fail as a whole; at the first ``dropped`` the connection breaks after the
    batch was taken, before its number was told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float = Field(default=0.0, ge=0)
    shuffled: bool = True
    missing: float = Field(default=0.0, ge=0, le=1)
    expired: float = Field(default=0.0, ge=0, le=1)
    failed: float = Field(default=0.0, ge=0, le=1)
    bad_times: int = Field(default=1, ge=0)
    refused: int = Field(default=0, ge=0)
    dropped: int = Field(default=0, ge=0)


class Phase(BaseModel):
    """What may happen to the next so many requests."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: int = Field(ge=1)
    mix: tuple[Step, ...] = Field(min_length=1)


class Scenario(BaseModel):
    """How a scripted provider behaves.

    ``opening`` happens to the first requests, in order of arrival; then come the ``phases``, and
    afterwards ``mix`` is drawn from. ``latency`` and ``jitter`` are seconds, ``pace`` the seconds
    for each token of a streamed answer. ``json_schema``, ``tools`` and ``streaming`` off make it a
    server that refuses these; ``usage`` off one that reports no tokens; ``reasoning`` on one that
    takes neither ``temperature`` nor ``max_tokens``. ``requests_per_minute`` and
    ``tokens_per_minute`` are limits that it keeps for all callers together, 0 for none; it then
    tells what is left of them in its headers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 7
    latency: float = Field(default=0.0, ge=0)
    jitter: float = Field(default=0.0, ge=0)
    pace: float = Field(default=0.0, ge=0)
    opening: tuple[Step, ...] = ()
    phases: tuple[Phase, ...] = ()
    mix: tuple[Step, ...] = Field(default=(Step(),), min_length=1)
    requests_per_minute: int = Field(default=0, ge=0)
    tokens_per_minute: int = Field(default=0, ge=0)
    models: tuple[str, ...] = ("scripted-1", "scripted-embed")
    context_tokens: int = Field(default=128_000, ge=1)
    json_schema: bool = True
    tools: bool = True
    streaming: bool = True
    base64: bool = True
    usage: bool = True
    reasoning: bool = False
    width: int = Field(default=256, ge=2, le=4096)
    key: str = ""
    batches: BatchScript = BatchScript()

    def steps(self, arrival: int) -> tuple[Step, ...]:
        """What may happen to the request that arrives as this one, counted from 0."""
        if arrival < len(self.opening):
            return (self.opening[arrival],)
        arrival -= len(self.opening)
        for phase in self.phases:
            if arrival < phase.requests:
                return phase.mix
            arrival -= phase.requests
        return self.mix


SHIPPED = Path(__file__).with_name("scenarios")
"""Scenarios that come with the product, by the names of their files."""


def shipped_scenarios() -> list[str]:
    """Their names."""
    return sorted(path.stem for path in SHIPPED.glob("*.json"))


def load_scenario(given: Path | str) -> Scenario:
    """A scenario from a JSON file, or one that ships with the product by its name.

    Raises ``ValueError`` with the reason, ``OSError`` for a file that cannot be read.
    """
    path = SHIPPED / f"{given}.json" if str(given) in shipped_scenarios() else Path(given)
    try:
        return Scenario.model_validate_json(path.read_text("utf-8"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{path.name}: {place or 'file'}: {first['msg']}") from None
