"""The counts at the end of `.ci/run` are honest."""

import subprocess
import sys
from pathlib import Path

import pytest

SUMMARY = Path(__file__).resolve().parents[2] / ".ci" / "summary.py"
CASES = {
    "good": "<testcase classname='a' name='good'/>",
    "bad": "<testcase classname='a' name='bad'><failure/></testcase>",
    "broken": "<testcase classname='a' name='broken'><error/></testcase>",
    "skipped": "<testcase classname='a' name='left'><skipped/></testcase>",
}


@pytest.fixture
def summarize(tmp_path):
    """Run it over steps and reports; the code and the printed lines."""

    def run(steps, **reports):
        lines = [f"{name}\t{code}\t1\n" for name, code in steps]
        (tmp_path / "steps.tsv").write_text("".join(lines))
        for name, cases in reports.items():
            body = "".join(CASES[case] for case in cases.split())
            (tmp_path / f"{name}.xml").write_text(
                f"<testsuites><testsuite>{body}</testsuite></testsuites>"
            )
        done = subprocess.run(
            [sys.executable, str(SUMMARY), str(tmp_path)], capture_output=True, text=True
        )
        return done.returncode, done.stdout.splitlines()

    return run


def test_steps_and_tests_are_counted_together(summarize):
    code, lines = summarize([("style", 0), ("tests on SQLite", 0)], sqlite="good good skipped")
    assert (code, lines[-1]) == (0, "3 passed, 0 failed")


def test_failures_and_errors_are_named(summarize):
    code, lines = summarize([("tests on SQLite", 1)], sqlite="good bad broken")
    assert (code, lines[-1]) == (1, "1 passed, 2 failed")
    assert any("a::bad" in line for line in lines)


@pytest.mark.parametrize("report", [{}, {"sqlite": "good good"}])
def test_a_suite_that_was_cut_short_is_a_failure(summarize, report):
    code, lines = summarize([("tests on SQLite", 124)], **report)
    assert code == 1
    assert lines[-1].endswith(", 1 failed")


def test_a_step_that_failed_is_a_failure(summarize):
    assert summarize([("style", 0), ("types", 1)])[1][-1] == "1 passed, 1 failed"


def test_nothing_at_all_is_not_a_success(summarize):
    assert summarize([])[0] == 1


def test_a_suite_in_which_every_test_was_skipped_does_not_pass(summarize):
    code, lines = summarize([("browser tests", 0)], browser="skipped")
    assert code == 1
    assert lines[-1] == "0 passed, 1 failed"
