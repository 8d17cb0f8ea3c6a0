"""Kills and freezes processes of a stack at work, from a seed, and keeps book of it."""

import random
import time
from collections import Counter
from datetime import UTC, datetime

import psutil

from core.crashpoints import POINTS
from tests.crash.installation import wait_for
from tests.crash.sampler import LEASE_SECONDS, Frozen, Kill, Sampler
from tests.crash.stack import CONCURRENCY, alive, lives, pid_of

VICTIMS = {
    "worker": 46,
    "point": 24,
    "pool": 5,
    "guard": 5,
    "helper": 6,
    "web": 4,
    "supervisor": 3,
    "frozen": 7,
}
"""How often which member is hit, in relation to the others."""

WHOLE = ("after_stage_open", "before_artifact", "after_artifact")
"""Points that only stages on the whole analysis pass."""

PROGRESS = 0.5
"""Share of strikes that wait until something was saved since the one before."""

PASSED = frozenset(name for name in POINTS if not name.startswith("bulk_"))
"""Points that these analyses pass: none of them is read in batches."""

IN_FLIGHT = CONCURRENCY + CONCURRENCY // 4
"""The most calls a process may have journaled and not settled: those on the wire, and a quarter
more that are about to be sent (``Lane`` in ``providers/gateway/lanes.py``)."""

RECOVERY_SECONDS = 30
GIVE_UP_SECONDS = 120
ENDED = ("completed", "completed_partial", "failed", "cancelled")


class Adversary:
    """Disturbs one stack."""

    def __init__(self, stack, seed, victims=VICTIMS, points=PASSED):
        self.stack = stack
        self.victims = victims
        self.points = points
        self.random = random.Random(seed)
        self.kills = []
        self.frozen = []
        self.resumed = Counter()
        self.workers_lost = 0
        self.used = Counter()
        self.sampler = Sampler(stack)
        self._session = None
        self._order = None

    # --- the loop ----------------------------------------------------------------------------

    def run(self, kills, say):
        """Kill so many times, then let everything end; ``say`` is told how far it is."""
        begun, told = time.monotonic(), 0
        while len(self.kills) < kills:
            self._keep_an_analysis_going()
            if len(self.kills) >= told + 10:
                told = len(self.kills)
                seconds = time.monotonic() - begun
                say(f"{told} kills, {len(self.stack.sessions) - 1} analyses, {seconds:.0f} s")
            self._thaw()
            self._notice_order()
            self._recovered()
            time.sleep(self.random.uniform(0.1, 1.5))
            if self.random.random() < PROGRESS:
                self._let_one_be_saved()
            self._strike()
        self._withdraw()
        self._recovered()
        for one in self.frozen:
            wait_for(lambda one=one: self._thaw() or one.until, 120, "the last frozen host")
        self._restart_dead_hosts()
        for session in self.stack.sessions:
            wait_for(lambda one=session: self._settled(one), 300, f"analysis {session} to end")
        self.sampler.end()

    def _let_one_be_saved(self):
        """Wait a little for a batch to be saved, or most deaths would only find work begun."""
        before, limit = self._saved(), time.monotonic() + 5
        while self._saved() == before and time.monotonic() < limit:
            time.sleep(0.05)

    def _saved(self):
        return self.stack.rows("SELECT count(*) FROM analyses_batch WHERE status = 'done'")[0][0]

    def _keep_an_analysis_going(self):
        if self._session is None or self._settled(self._session):
            self._session = self.stack.begin()

    def _settled(self, session):
        """Whether an analysis is complete; what kills stopped for good is tried again."""
        status = self.stack.status(session)
        wish = {
            "failed": "resume",
            "blocked": "resume",
            "pausing": "resume",
            "paused": "resume",
            "completed_partial": "retry_failed",
        }
        if status in wish and self.stack.ask("wish", session=session, what=wish[status]):
            self.resumed[status] += 1
            return False
        return status in ENDED

    # --- recovery ----------------------------------------------------------------------------

    def _recovered(self):
        """Wait until the work of the dead is free again and somebody living works."""
        limit = time.monotonic() + GIVE_UP_SECONDS
        while not self._works():
            assert time.monotonic() < limit, f"nobody went on with the work: {self._scene()}"
            self._thaw()
            self._restart_dead_hosts()
            time.sleep(0.05)
        now = time.monotonic()
        for kill in self.kills:
            if kill.seconds is None and kill.victim != "web":
                kill.seconds = now - kill.at

    def _scene(self):
        """What there is to see, for the message of a failure."""
        return {
            "kills": self.kills[-5:],
            "frozen": self.frozen,
            "leased": self.sampler.look(),
            "analysis": self.stack.rows(
                "SELECT id, status, desired, reason, detail FROM analyses_analysissession"
                " WHERE id = ?",
                self._session,
            ),
            "batches": self.stack.rows(
                "SELECT stage, status, count(*), max(not_before) FROM analyses_batch"
                " WHERE session_id = ? GROUP BY stage, status",
                self._session,
            ),
            "beats": self.stack.rows("SELECT name, beat_at FROM core_beat"),
            "queue": self.stack.rows("SELECT id, key, lock FROM django_q_ormq"),
            "refused": self.stack.refused[-3:],
        }

    def _works(self):
        held = self.sampler.look()
        dead = [owner for _, _, owner in held if not alive(owner)]
        if dead:
            return False
        stopped = {pid for one in self.frozen if one.until is None for pid in one.pids}
        busy = any(pid_of(owner) not in stopped for _, _, owner in held)
        return busy or self._settled(self._session)

    def _restart_dead_hosts(self):
        for host, process in self.stack.hosts.items():
            if process.poll() is not None:
                self.stack.serve(host)

    # --- striking ----------------------------------------------------------------------------

    def _strike(self):
        names, weights = list(self.victims), list(self.victims.values())
        for _ in range(20):
            victim = self.random.choices(names, weights)[0]
            if getattr(self, f"_hit_{victim}")():
                return

    def _note(self, victim, point=""):
        disturbed = any(one.until is None or one.until > time.monotonic() for one in self.frozen)
        kill = Kill(victim, time.monotonic(), point, disturbed=disturbed)
        self.kills.append(kill)
        return kill

    def _kill(self, process, victim):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            return False
        kill = self._note(victim)
        if victim == "web":
            self.sampler.web_kills.append(kill)
        # Until the kernel has taken it down it would still look alive.
        wait_for(lambda: not lives(process), 10, "the kernel to end it")
        return True

    def _awake(self):
        frozen = {one.host for one in self.frozen if one.until is None}
        return [host for host in self.stack.hosts if host not in frozen]

    def _any(self, role):
        found = [one for host in self._awake() for one in self.stack.tree(host)[role]]
        return self.random.choice(found) if found else None

    def _hit_worker(self):
        """A worker that holds work."""
        owners = sorted({owner for _, _, owner in self.sampler.look() if alive(owner)})
        pids = {pid_of(owner) for owner in owners}
        frozen = {pid for one in self.frozen if one.until is None for pid in one.pids}
        pids = sorted(pids - frozen)
        if not pids:
            return False
        if not self._kill(psutil.Process(self.random.choice(pids)), "worker"):
            return False
        self.workers_lost += 1
        return True

    def _hit_helper(self):
        """A child of the guard that holds no work: pusher, monitor, idle worker."""
        busy = {pid_of(owner) for _, _, owner in self.sampler.look()}
        children = [one for host in self._awake() for one in self.stack.tree(host)["child"]]
        children = [one for one in children if one.pid not in busy]
        return bool(children) and self._kill(self.random.choice(children), "helper")

    def _hit_group(self, role):
        process = self._any(role)
        if process is None:
            return False
        self.workers_lost += 2
        return self._kill(process, role)

    def _hit_pool(self):
        return self._hit_group("pool")

    def _hit_guard(self):
        return self._hit_group("guard")

    def _hit_web(self):
        process = self._any("web")
        return process is not None and self._kill(process, "web")

    def _hit_supervisor(self):
        host = self.random.choice(self._awake())
        if self.stack.hosts[host].poll() is not None:
            return False
        self.workers_lost += 2
        self.stack.hosts[host].kill()
        self.stack.hosts[host].wait()
        self._note("supervisor")
        self.stack.serve(host)
        return True

    # --- named points ------------------------------------------------------------------------

    def _hit_point(self):
        """Order one death at a named point, and wait a little for somebody to pass it."""
        if self._order is not None:
            return False
        reading = self.stack.rows(
            "SELECT count(*) FROM analyses_stageprogress WHERE session_id = ?"
            " AND key = 'facets' AND finished_at IS NULL",
            self._session,
        )[0][0]
        names = sorted(self.points - set(WHOLE) if reading else self.points & set(WHOLE))
        if not names:
            return False
        self.random.shuffle(names)
        name = min(names, key=lambda one: self.used[one])
        self.used[name] += 0.2  # one that is seldom passed shall not bar the others
        chance = self.random.choice(("1", "0.3", "0.1"))
        self.stack.order.write_text(name if name in WHOLE else f"{name}:{chance}")
        self._order = name
        if name == "before_release":
            self.stack.ask("wish", session=self._session, what="pause")
        limit = time.monotonic() + (8 if name == "during_renew" else 4)
        while self.stack.order.exists() and time.monotonic() < limit:
            time.sleep(0.02)
        self._notice_order()
        self._withdraw()
        if name == "before_release":
            self.stack.ask("wish", session=self._session, what="resume")
        return self.kills and self.kills[-1].point == name

    def _notice_order(self):
        if self._order is not None and not self.stack.order.exists():
            self._note("point", self._order)
            self.used[self._order] += 0.8
            self.workers_lost += 1
            self._order = None

    def _withdraw(self):
        """Take the order back, unless somebody took it at this very moment."""
        if self._order is not None:
            try:
                self.stack.order.unlink()
                self._order = None
            except FileNotFoundError:
                self._notice_order()

    # --- frozen hosts ------------------------------------------------------------------------

    def _hit_frozen(self):
        """Stop a whole host with a worker that holds work, as if its machine was suspended."""
        if any(one.until is None for one in self.frozen):
            return False
        host = self.random.choice(sorted(self.stack.hosts))
        tree = self.stack.tree(host)
        members = [one for some in tree.values() for one in some]
        pids = {one.pid for one in tree["child"]}
        if not any(pid_of(owner) in pids for _, _, owner in self.sampler.look()):
            return False
        if not self.stack.freeze(members):
            return False
        if host == "main":
            self.sampler.web_is_frozen()
        claims = [row for row in self.sampler.look() if pid_of(row[2]) in pids]
        one = Frozen(host, time.monotonic(), claims, sorted(pids))
        self.frozen.append(one)
        self._note("frozen")
        self.workers_lost += 2
        return True

    def _thaw(self):
        """Let a host go on once its leases have ended and others have taken its work."""
        for one in self.frozen:
            if one.until is not None or time.monotonic() - one.since < LEASE_SECONDS + 3:
                continue
            held = {(batch, fence) for batch, fence, _ in self.sampler.look()}
            left = [claim for claim in one.claims if (claim[0], claim[1]) in held]
            if left and time.monotonic() - one.since < LEASE_SECONDS + 30:
                continue
            one.lost = [claim for claim in one.claims if claim not in left]
            tree = self.stack.tree(one.host)
            one.until = time.monotonic()
            one.woken = datetime.now(UTC)
            self.stack.go_on([process for some in tree.values() for process in some])
