"""Points at which a process kills itself when asked to, and costs nothing when not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import crashpoints

ROOT = Path(__file__).resolve().parents[2]
PASS_FIVE = """
from core.crashpoints import reach
for number in range(5):
    reach("after_intent")
    print(number, flush=True)
"""


def run(value, program=PASS_FIVE):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), crashpoints.VARIABLE: value}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=30
    )
    return done.returncode, done.stdout.decode().split(), done.stderr.decode()


@pytest.mark.parametrize(
    ("value", "passed"),
    [
        ("after_intent", 0),
        ("before_finish, after_intent:3", 2),
        ("after_intent:1", 0),
        ("before_finish", 5),
        ("after_intent:9", 5),
        ("after_intent:0", 5),
        ("", 5),
    ],
)
def test_dies_at_the_point_asked_for(value, passed):
    code, said, _ = run(value)
    assert said == [str(number) for number in range(passed)]
    assert code == (0 if passed == 5 else -signal.SIGKILL)


def test_a_chance_kills_some_and_spares_some():
    many = PASS_FIVE.replace("range(5)", "range(400)")
    code, said, _ = run("after_intent:0.05", many)
    assert code == -signal.SIGKILL
    assert len(said) < 399


def test_an_order_in_a_file_kills_one_process_only(tmp_path):
    order = tmp_path / "order"
    order.write_text("after_intent:2")
    assert run(f"@{order}")[:2] == (-signal.SIGKILL, ["0"])
    assert not order.exists()
    assert run(f"@{order}")[:2] == (0, list("01234"))


def test_a_name_that_does_not_exist_is_refused():
    code, _, complaint = run("after_lunch")
    assert code == 1
    assert "no point 'after_lunch'" in complaint


def test_every_point_is_placed_once_in_the_product():
    placed = []
    for app in ("core", "providers", "analyses"):
        for file in (ROOT / app).rglob("*.py"):
            if file.name != "crashpoints.py":
                text = file.read_text("utf-8")
                placed += [name for name in crashpoints.POINTS if f'("{name}")' in text]
    assert sorted(placed) == sorted(crashpoints.POINTS)
