"""Who held what and when, seen from outside twenty times a second."""

import contextlib
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.crash.database import moment

LEASE_SECONDS = 30


@dataclass
class Kill:
    """One death: who, when, and after how many seconds work went on."""

    victim: str
    at: float
    point: str = ""
    seconds: float | None = None
    disturbed: bool = False
    """A frozen process may have held a lock of the database at the time."""


@dataclass
class Frozen:
    """A host that stood still: its claims then, and when it went on."""

    host: str
    since: float
    claims: list
    pids: list
    until: float | None = None
    woken: datetime | None = None
    lost: list = field(default_factory=list)
    """Those of its claims that others had taken over before it went on."""


class Sampler(threading.Thread):
    """Looks twenty times a second at who holds what."""

    def __init__(self, stack):
        super().__init__(daemon=True)
        self._stack = stack
        self._ended = threading.Event()
        self.web_kills = []
        """Deaths of the web process after which it has not answered yet."""
        self.claims = defaultdict(dict)
        """By owner, each batch and fence with the moment of the claim."""
        self.start()

    def run(self):
        while not self._ended.wait(0.05):
            with contextlib.suppress(Exception):
                self.look()
                if self.web_kills and self._stack.web_answers():
                    self._web_is_back()

    def _web_is_back(self):
        while self.web_kills:
            kill = self.web_kills.pop()
            kill.seconds = time.monotonic() - kill.at

    def web_is_frozen(self):
        """Its host stands still: a web process that was killed before cannot come back."""
        for kill in list(self.web_kills):
            kill.disturbed = True

    def look(self):
        """Who holds what, now."""
        held = self._stack.rows(
            "SELECT id, fence, owner, lease_until FROM analyses_batch WHERE status = 'leased'"
        )
        for batch, fence, owner, until in held:
            claimed = moment(until) - timedelta(seconds=LEASE_SECONDS)
            self.claims[owner].setdefault((batch, fence), claimed)
        return [row[:3] for row in held]

    def end(self):
        """Stop looking."""
        self._ended.set()
        self.join(10)
