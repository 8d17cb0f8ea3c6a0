"""A provider that keeps a bill of its own; the schedule decides what becomes of a request."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core import work
from providers.gateway.errors import ErrorClass, Fault
from providers.gateway.types import Deployment, WireAnswer, WireChat
from tests.simulation.processes import Process
from tests.simulation.virtual import Thread

if TYPE_CHECKING:
    from tests.simulation.world import World

NOTICE = 2.0
"""Seconds within which a process has to notice what people want."""


LATEST = 120.0
"""Seconds after which the deployment's own time limit ends a call."""


TOKENS = {"tokens_in": 400, "tokens_out": 250}
"""Of every answer: 0.09 US dollars, of 0.25 that are set aside for it."""


@dataclass(eq=False)
class Request:
    """One request on the wire."""

    number: int
    process: Process
    session: int
    question: str
    schema: Mapping[str, Any]
    future: Any
    at: float
    billed: bool = False
    gone: bool = False

    @property
    def waited_for(self) -> bool:
        return not self.gone and not self.future.done()


class SimulatedClient:
    """Puts requests on the wire; the schedule decides what becomes of them."""

    def __init__(self, world: World) -> None:
        self._world = world
        thread = Thread.current_or_none()
        self._session = thread.notes["session"] if thread else 0

    async def chat(self, deployment: Deployment, wire: WireChat) -> WireAnswer:
        return await self._world.send(self._session, wire)

    async def embed(self, *_args: Any, **_options: Any) -> Any:
        raise Fault(ErrorClass.BAD_REQUEST, "no embeddings here", sent=False)

    async def aclose(self) -> None:
        return


def answer_to(schema: Mapping[str, Any]) -> Any:
    """The dullest value that satisfies a JSON schema."""
    kind = schema.get("type")
    kind = next((one for one in kind if one != "null"), "null") if isinstance(kind, list) else kind
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return answer_to(schema["anyOf"][0])
    if kind == "object":
        return {key: answer_to(value) for key, value in schema.get("properties", {}).items()}
    plain = {"string": "x", "integer": 1, "number": 1, "boolean": True, "array": []}
    return plain.get(str(kind))


class Wire:
    """What the provider does to the requests on the wire of a world."""

    async def send(self, session: int, wire: WireChat) -> WireAnswer:
        process = self.acting
        words = json.dumps([[m.role, m.content] for m in wire.messages]) + str(wire.max_tokens)
        request = Request(
            number=len(self.sent),
            process=process,
            session=session,
            question=hashlib.sha256(words.encode()).hexdigest()[:12],
            schema=wire.schema or {},
            future=process.loop.create_future(),
            at=self.clock.now,
        )
        self._check_send(request)
        self.sent.append(request)
        self.wire.append(request)
        if self.shape.poison and self.shape.poison in words:
            self.killed.append(process)
        answer: WireAnswer = await request.future
        return answer

    def _check_send(self, request: Request) -> None:
        """No call begins after a pause, after a lost lease, or while somebody else asks the same.

        A process that is held up cannot notice; one that had two seconds to itself must have.
        """
        process, now = request.process, self.clock.now
        stopped = self.stopped.get(request.session)
        if stopped is not None and process.responsive >= stopped.get(process, 0.0) + NOTICE:
            self.faults.append("a call began although its analysis was stopped before")
        heart = process.worker._heart
        if heart._held and now - heart._renewed >= work.LEASE.total_seconds():
            self.faults.append(f"a call began {now - heart._renewed:.1f} s after the last renewal")
        for other in self.wire:
            if (
                other.question == request.question
                and other.process is not process
                and other.process.alive
                and other.waited_for
                and now - other.at < LATEST
            ):
                self.faults.append(f"request {other.number} was asked again while it was out")

    def bill(self, request: Request) -> None:
        """The provider did the work."""
        if not request.billed:
            request.billed = True
            self.bills += 1

    def off_the_wire(self, request: Request) -> None:
        request.gone = True
        self.wire.remove(request)

    def _do_provider(self, _what: None) -> None:
        self.up = not self.up

    def _do_answer(self, request: Request) -> None:
        self.bill(request)
        if request.waited_for:
            text = json.dumps(answer_to(request.schema))
            request.future.set_result(WireAnswer(text, **TOKENS))
        self.off_the_wire(request)

    def _do_refuse(self, request: Request) -> None:
        self._fault(request, Fault(ErrorClass.NETWORK, "refused", sent=False))

    def _do_fault(self, request: Request) -> None:
        kind = self.rng.randrange(7)
        if kind == 0:
            self._fault(request, Fault(ErrorClass.NETWORK, "cut off"), bill=True)
        elif kind == 1:
            self._fault(request, Fault(ErrorClass.TIMEOUT, "late"), bill=self.rng.random() < 0.5)
        elif kind == 2:
            wait = self.rng.choice((0.5, 3.0, 20.0, 90.0))
            fault = Fault(ErrorClass.RATE_LIMIT, "HTTP 429", status=429, retry_after=wait)
            self._fault(request, fault)
        elif kind == 3:
            self._fault(request, Fault(ErrorClass.SERVER, "HTTP 503", status=503))
        elif kind == 4:
            self.bill(request)  # the work is done, the answer is on its way
        elif kind == 5 and self.rng.random() < 0.3:
            self._fault(request, Fault(ErrorClass.AUTH, "HTTP 401", status=401, sent=True))
        else:
            self._garbage(request)

    def _fault(self, request: Request, fault: Fault, *, bill: bool = False) -> None:
        if bill:
            self.bill(request)
        if request.billed and (fault.status is not None or not fault.sent):
            fault = Fault(ErrorClass.NETWORK, "cut off")  # the work was done: no refusal any more
        if request.waited_for:
            request.future.set_exception(fault)
        self.off_the_wire(request)

    def _garbage(self, request: Request) -> None:
        self.bill(request)
        if request.waited_for:
            request.future.set_result(WireAnswer("never mind", **TOKENS))
        self.off_the_wire(request)
