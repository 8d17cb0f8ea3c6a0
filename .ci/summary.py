"""Prints what `.ci/run` found: a line for each step, every failed test, and the counts.

A step that ran tests counts as its tests; any other step counts as one. A step with tests that
ended badly without a failed test (a crash, a time limit, nothing collected), or in which
no test ran, counts as one failure.
"""

# ruff: noqa: T201  # a program for the terminal
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree  # our own reports

# Name of a step with tests, and the report it leaves.
REPORTS = {
    "tests on SQLite": "sqlite",
    "tests on PostgreSQL": "postgres",
    "tests with Redis": "redis",
    "crash tests": "crash",
    "crash tests on PostgreSQL": "crash-postgres",
    "simulation": "simulation",
    "browser tests": "browser",
}


class Found(NamedTuple):
    """Counts of one step."""

    passed: int
    failed: int
    skipped: int = 0
    names: tuple[str, ...] = ()


def read_report(file: Path) -> Found:
    """The counts of a JUnit report; a report that is missing or cut short counts nothing."""
    try:
        cases = ElementTree.parse(file).getroot().findall(".//testcase")  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return Found(0, 0)
    bad = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = tuple(f"{case.get('classname')}::{case.get('name')}" for case in bad)
    return Found(len(cases) - len(bad) - skipped, len(bad), skipped, names)


def count(name: str, code: int, directory: Path) -> Found:
    """What one step contributes."""
    if name not in REPORTS:
        return Found(int(code == 0), int(code != 0))
    found = read_report(directory / f"{REPORTS[name]}.xml")
    if found.failed:
        return found
    if code:
        return found._replace(failed=1, names=(f"{name}: ended with code {code}",))
    if not found.passed:
        return found._replace(failed=1, names=(f"{name}: no test ran",))
    return found


def main(directory: Path) -> int:
    """Print and return the exit code."""
    passed = failed = 0
    print("\n=== summary")
    for line in (directory / "steps.tsv").read_text("utf-8").splitlines():
        name, code, seconds = line.split("\t")
        found = count(name, int(code), directory)
        passed, failed = passed + found.passed, failed + found.failed
        state = "FAILED" if found.failed else "ok"
        print(
            f"{state:7}{name:24}{found.passed:6} passed {found.failed:4} failed "
            f"{found.skipped:4} skipped {seconds:>6} s"
        )
        for test in found.names:
            print(f"         {test}")
    print(f"{passed} passed, {failed} failed")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
