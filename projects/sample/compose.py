"""Puts one conversation together from phrases, in the manner of the person who writes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from projects.sample.details import Details
from projects.sample.library import Phrases, common, phrases
from projects.sample.people import Person
from projects.sample.text import (
    Decks,
    contract,
    fill,
    hurried,
    join_greeting,
    mistype,
    run_on,
    spin,
    stems,
)
from projects.sample.topics import OFF_TOPIC, Topic

Message = tuple[str, str]
LONGEST = 16

_PERSONAL = {
    "access": ("email", "email", "name", "phone", "ip"),
    "billing": ("card", "iban", "email", "name"),
    "delivery": ("address", "phone", "name", "email"),
    "connections": ("ip", "email", "name"),
    "privacy": ("name", "email", "address"),
}
_OUTCOMES = ("resolved", "escalated", "unresolved")
_USUAL = (74, 14, 12)
_OUTCOME_WEIGHTS = {"angry": (55, 22, 23), "grave": (12, 70, 18)}
_PERSONAL_ELSEWHERE = ("email", "phone", "name")


@dataclass(frozen=True, slots=True)
class Order:
    """What to write: who, about what, when, and what is special about it."""

    person: Person
    topic: Topic | None
    start: datetime
    channel: str
    also: Topic | None = None
    concern: str = ""
    personal: bool = False


@dataclass(slots=True)
class Written:
    """One composed conversation: role and text of each message, how it ended, details given."""

    messages: list[Message] = field(default_factory=list)
    outcome: str = "resolved"
    personal: list[str] = field(default_factory=list)


class Writer:
    """Writes conversations one after the other, with decks shared so that phrases take turns."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._decks = Decks(rng)

    def write(self, order: Order) -> Written:
        """Compose one conversation of 2 to 16 messages."""
        return _Draft(self._rng, self._decks, order).compose()


class _Draft:
    def __init__(self, rng: random.Random, decks: Decks, order: Order) -> None:
        self._rng = rng
        self._decks = decks
        self._order = order
        self._person = order.person
        self._common = common(order.person.language)
        self._details = Details(rng, order.person, order.start)
        self._out = Written()
        self._formal = order.channel == "email"
        self._introduced = False
        self._told = not order.personal
        self._suiting: list[str] = []
        self._said: set[str] = set()
        self._used: set[str] = set()
        self._sign_off = ""
        self._cross = bool(order.concern)

    def compose(self) -> Written:
        if self._order.topic is None:
            return self._junk()
        topic = phrases(self._order.topic.key, self._person.language)
        self._open(topic)
        rounds = self._rounds(topic)
        for index in range(rounds):
            self._exchange(topic, index)
        self._end(topic, brief=rounds == 0)
        del self._out.messages[LONGEST:]
        return self._out

    # words ---------------------------------------------------------------------------------

    def _word(self, template: str) -> str:
        return fill(spin(template, self._rng), self._details)

    def _any(self, cards: Sequence[str]) -> str:
        return self._word(self._decks.deal(cards))

    def _maybe(self, share: float) -> bool:
        return self._rng.random() < share

    def _customer(self, *parts: str) -> None:
        text = " ".join(part for part in parts if part)
        self._out.messages.append(("customer", self._typed(text)))

    def _typed(self, text: str) -> str:
        return mistype(text, self._rng, self._person.typos)

    def _agent(self, *parts: str) -> None:
        text = " ".join(part for part in parts if part)
        if self._formal:
            self._sign_off = self._sign_off or self._any(self._common["agent_mail_close"])
            text += "\n\n" + self._sign_off
        self._out.messages.append(("agent", text))

    def _tell(self, kind: str) -> str:
        self._told = True
        self._out.personal.append(kind)
        return self._any(self._common["tell"][kind])

    def _kind(self) -> str:
        assert self._order.topic is not None
        return self._rng.choice(_PERSONAL.get(self._order.topic.theme, _PERSONAL_ELSEWHERE))

    # opening -------------------------------------------------------------------------------

    def _open(self, topic: Phrases) -> None:
        terse = self._person.style == "terse"
        if not self._formal and not terse and self._maybe(0.14):
            hello, reply = self._rng.choice(self._common["hello_only"])
            self._customer(self._word(hello))
            self._agent(self._word(reply))
            self._introduced = True
        parts = self._terse(topic) if terse else self._full(topic)
        if self._order.concern:
            parts.append(self._any(self._common[self._order.concern]))
        if not self._told and self._maybe(0.5):
            parts.append(self._tell(self._kind()))
        text = run_on(parts)
        if not self._introduced and not terse and (self._formal or self._maybe(0.6)):
            text = join_greeting(self._any(self._common["greet"]), text, self._formal)
        if self._formal:
            text += f"\n\n{self._any(self._common['mail_close'])}\n{self._person.first}"
        self._customer(text)
        if not self._formal and "more" in topic and self._maybe(0.2):
            self._customer(self._any(topic["more"]))

    def _terse(self, topic: Phrases) -> list[str]:
        if "short" in topic and self._maybe(0.7):
            return [self._state(topic, "short", "match_short")]
        return [hurried(self._state(topic, "problems", "match"))]

    def _state(self, topic: Phrases, kind: str, match: str) -> str:
        """A statement of the problem; remembers which fixes suit it."""
        template = self._decks.deal(topic[kind])
        if match in topic:
            suiting = topic[match][topic[kind].index(template)]
            self._suiting = [topic["fixes"][int(number)] for number in suiting]
        self._said.update(stems(template))
        return self._word(template)

    def _fix(self, topic: Phrases) -> str:
        """An answer that suits the problem: as noted in the phrases, else by shared words."""
        fixes: list[str] = self._suiting or topic["fixes"]
        if not self._suiting:
            shared = [len(self._said & stems(one)) for one in fixes]
            fixes = [one for one, score in zip(fixes, shared, strict=True) if score == max(shared)]
        return self._word(self._rng.choice(fixes))

    def _full(self, topic: Phrases) -> list[str]:
        style = self._person.style
        parts = [self._state(topic, "problems", "match")]
        if "more" in topic and self._maybe({"rambling": 0.9, "plain": 0.55}.get(style, 0.7)):
            parts.append(self._any(topic["more"]))
        if style == "rambling":
            parts.insert(self._rng.randrange(2), self._any(self._common["backstory"]))
            if self._maybe(0.4):
                parts.append(self._any(self._common["please"]))
        if style == "angry":
            if self._maybe(0.65):
                parts.insert(0, self._any(self._common["angry"]))
                self._cross = True
            if self._maybe(0.7):
                parts.append(self._any(self._common["angry_tail"]))
                self._cross = True
        if style == "polite" or (style == "plain" and self._maybe(0.3)):
            parts.append(self._any(self._common["please"]))
        return parts

    # middle --------------------------------------------------------------------------------

    def _rounds(self, topic: Phrases) -> int:
        most = len(topic.get("ask", ())) + len(topic.get("steps", ()))
        if self._formal:
            return min(most, self._rng.choices((0, 1, 2), (45, 40, 15))[0])
        return min(most, self._rng.choices((0, 1, 2, 3, 4), (12, 34, 30, 17, 7))[0])

    def _welcome(self) -> list[str]:
        """The first words of an agent in this conversation; nothing later on."""
        if self._introduced:
            return []
        self._introduced = True
        mood = "agent_sorry" if self._cross else "agent_calm"
        return [self._any(self._common["agent_hello"]), self._any(self._common[mood])]

    def _exchange(self, topic: Phrases, index: int) -> None:
        asks, steps = topic.get("ask", ()), topic.get("steps", ())
        source = asks if asks and (index == 0 or not steps or self._maybe(0.3)) else steps
        lines = self._decks.deal(source)
        if lines[0] in self._used:
            return
        self._used.add(lines[0])
        self._agent(*self._welcome(), self._word(lines[0]))
        chosen = self._rng.choice(lines[1:])
        self._said.update(stems(chosen))
        answer = self._word(chosen)
        self._customer(hurried(answer) if self._person.style == "terse" else answer)
        if not self._told and self._maybe(0.5):
            self._ask_personal()
        elif not self._formal and self._maybe(0.13):
            self._pause()

    def _ask_personal(self) -> None:
        kind = self._kind()
        self._agent(self._any(self._common["ask"][kind]))
        self._customer(self._tell(kind))

    def _pause(self) -> None:
        if self._maybe(0.25) and self._person.style in {"plain", "rambling", "polite"}:
            said, reply = self._decks.deal(self._common["smalltalk"])
            self._customer(self._word(said))
            self._agent(self._word(reply))
            return
        self._agent(self._any(self._common["agent_wait"]))
        self._customer(self._any(self._common["customer_wait"]))

    # end -----------------------------------------------------------------------------------

    def _end(self, topic: Phrases, brief: bool) -> None:
        mood = "grave" if self._order.concern else self._person.style
        weights = _OUTCOME_WEIGHTS.get(mood, _USUAL)
        self._out.outcome = self._rng.choices(_OUTCOMES, weights)[0]
        if not self._told:
            self._ask_personal_first()
        if self._out.outcome == "escalated":
            self._hand_over()
        elif self._out.outcome == "unresolved":
            self._part_unsolved(topic)
        else:
            self._solve(topic, brief)

    def _ask_personal_first(self) -> None:
        kind = self._kind()
        self._agent(*self._welcome(), self._any(self._common["ask"][kind]))
        self._customer(self._tell(kind))

    def _hand_over(self) -> None:
        assert self._order.topic is not None
        team = self._any(self._common["teams"][self._order.topic.theme])
        self._details["team"] = team
        self._agent(*self._welcome(), contract(self._any(self._common["handover"])))
        if self._maybe(0.75):
            self._customer(self._any(self._common["handover_reply"]))

    def _part_unsolved(self, topic: Phrases) -> None:
        self._agent(*self._welcome(), self._fix(topic))
        self._customer(self._any(self._common["unresolved"]))
        if self._maybe(0.8):
            self._agent(self._any(self._common["unresolved_agent"]))

    def _solve(self, topic: Phrases, brief: bool) -> None:
        self._agent(*self._welcome(), self._fix(topic))
        if "follow" in topic and self._maybe(0.3):
            question, reply = self._decks.deal(topic["follow"])
            self._customer(self._word(question))
            self._agent(self._word(reply))
        if self._order.also is not None:
            self._second(self._order.also)
        if self._maybe(0.35 if brief else 0.85):
            self._customer(self._thanks())
            if self._maybe(0.6):
                self._agent(self._any(self._common["bye"]))

    def _thanks(self) -> str:
        thanks = self._any(self._common["thanks"])
        return hurried(thanks) if self._person.style == "terse" else thanks

    def _second(self, topic: Topic) -> None:
        other = phrases(topic.key, self._person.language)
        self._said.clear()
        self._suiting = []
        problem = self._state(other, "problems", "match")
        self._customer(self._any(self._common["second"]), problem)
        self._agent(self._any(self._common["second_agent"]), self._fix(other))

    def _junk(self) -> Written:
        self._out.outcome = OFF_TOPIC
        lines = self._decks.deal(self._common["junk"])
        for index, line in enumerate(lines):
            role = ("customer", "agent")[index % 2]
            self._out.messages.append((role, self._word(line)))
        return self._out
