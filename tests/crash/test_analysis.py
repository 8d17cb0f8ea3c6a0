"""An analysis whose processes are killed while it runs ends with the result of one left alone."""

import json
import sys

import pytest

from tests.crash.installation import Installation, wait_for

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's prctl(2)"),
]

# Through the services that the pages call.
BEGIN = """
from accounts.services import claim_first_owner, first_owner_link
from analyses.services import ensure_sample_session
token = first_owner_link().rstrip("/").rpartition("/")[2]
claim_first_owner(token=token, name="Ann", email="ann@example.org", password="correct horse bat")
assert ensure_sample_session()
"""


class Sample(Installation):
    """An installation that is served and has begun the sample analysis."""

    def __init__(self, directory):
        super().__init__(directory)
        assert self.manage("setup").wait(180) == 0

    def begin(self):
        """Serve, then start the analysis."""
        self.start()
        assert self.manage("shell", "--no-imports", "-c", BEGIN).wait(60) == 0

    def saved(self):
        """Batches whose results are saved, of all that exist."""
        return self.rows("SELECT count(*) FROM analyses_batch WHERE status = 'done'")[0][0]

    def progress(self, batches):
        """Wait until that many more are saved."""
        goal = self.saved() + batches
        wait_for(lambda: self.saved() >= goal, 90, "progress")

    def state(self):
        """Where the analysis stands."""
        return self.rows("SELECT status FROM analyses_analysissession")[0][0]

    def finish(self, seconds=240):
        """Wait for the end; what was found, in a form to compare."""
        wait_for(lambda: self.state() not in {"queued", "running"}, seconds, "the analysis to end")
        assert self.state() == "completed"
        return {
            "clusters": self.rows(
                "SELECT level, name, size FROM analyses_cluster ORDER BY 1, 2, 3"
            ),
            "members": self.rows(
                "SELECT i.position, c.level, c.name FROM analyses_clustermembership m"
                " JOIN analyses_cluster c ON c.id = m.cluster_id"
                " JOIN analyses_analysisitem i ON i.id = m.item_id ORDER BY 1, 2, 3"
            ),
            "facets": self.rows("SELECT count(*) FROM analyses_facetvalue"),
            "items": self.rows(
                "SELECT outcome, count(*) FROM analyses_analysisitem GROUP BY 1 ORDER BY 1"
            ),
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What the sample analysis finds when nobody interferes."""
    one = Sample(tmp_path_factory.mktemp("undisturbed"))
    one.begin()
    try:
        return one.finish()
    finally:
        one.end()


@pytest.fixture
def sample(tmp_path):
    """A running installation with its sample analysis."""
    one = Sample(tmp_path)
    one.begin()
    yield one
    one.end()


def test_kill_9_of_worker_cluster_and_web_changes_nothing(undisturbed, sample):
    for victim in ("worker", "pool", "web", "worker", "guard"):
        sample.progress(5)
        sample.part(victim).kill()
    assert sample.state() == "running", "the kills came too late to show anything"
    assert json.dumps(sample.finish()) == json.dumps(undisturbed)


def test_kill_9_of_the_supervisor_and_a_new_start_changes_nothing(undisturbed, sample):
    sample.progress(40)
    sample.supervisor.kill()
    sample.supervisor.wait()
    wait_for(lambda: not sample.members(), 5, "all processes to end")
    assert sample.state() == "running"
    sample.start()
    assert json.dumps(sample.finish()) == json.dumps(undisturbed)
