"""What `serve` checks and says before anything runs."""

import socket
import stat
from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.migrations.recorder import MigrationRecorder

from core.supervision import serving, warmth


@pytest.fixture
def taken():
    """A port on which somebody listens."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_taken_port_is_named_with_a_way_out(taken):
    with pytest.raises(CommandError, match=rf"Port {taken} is taken.*PORT={taken + 1}"):
        serving.check_port("127.0.0.1", taken)


def test_a_free_port_is_fine(taken):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    serving.check_port("127.0.0.1", free)


def test_an_address_of_another_machine_is_refused():
    # 192.0.2.0/24 is kept for documentation (RFC 5737), so it is never ours.
    with pytest.raises(CommandError, match=r"Cannot listen on 192\.0\.2\.1:8000"):
        serving.check_port("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],
)
def test_the_address_that_is_shown_can_be_opened(host, shown):
    assert serving.address(host, 8000) == f"http://{shown}:8000"


def test_the_first_link_is_handed_on_once_and_readable_by_the_owner_only(settings, tmp_path):
    settings.RUN_DIR = tmp_path / "run"
    assert serving.take_first_visit() == ""
    serving.leave_first_visit("/welcome/old/")
    serving.leave_first_visit("/welcome/abc/")
    note = settings.RUN_DIR / serving.FIRST_VISIT
    assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert serving.take_first_visit() == "/welcome/abc/"
    assert serving.take_first_visit() == ""


@pytest.mark.django_db
def test_a_database_that_is_not_migrated_is_not_served():
    MigrationRecorder.Migration.objects.filter(app="core").delete()
    with pytest.raises(CommandError, match=r"Run `manage\.py setup` first"):
        call_command("serve", "--no-workers", stdout=StringIO())


def test_nothing_to_serve_is_refused():
    with pytest.raises(CommandError, match="leave nothing to serve"):
        call_command("serve", "--no-web", "--no-workers")


def test_warmth_is_lost_with_another_version(settings, tmp_path, monkeypatch):
    settings.NUMBA_CACHE_DIR = tmp_path
    assert not warmth.is_warm()
    warmth.mark_warm()
    assert warmth.is_warm()
    monkeypatch.setattr(warmth, "version", lambda name: "0.0")
    assert not warmth.is_warm()
