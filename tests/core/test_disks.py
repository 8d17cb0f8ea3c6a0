"""SQLite is refused on the disks of other machines."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from core.disks import file_system, shared_disk


@pytest.fixture
def mounts(monkeypatch):
    """Pretend that these are mounted."""
    table = [("/", "ext4"), ("/srv", "nfs4"), ("/srv/local", "xfs")]
    found = [SimpleNamespace(mountpoint=point, fstype=kind) for point, kind in table]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)


@pytest.mark.parametrize(
    ("file", "kind"),
    [("/srv/a/db", "nfs4"), ("/srv/local/db", "xfs"), ("/srvx/db", "ext4"), ("/db", "ext4")],
)
def test_the_nearest_mount_counts(mounts, file, kind):
    assert file_system(Path(file)) == kind


def test_a_network_disk_is_refused_with_the_ways_out(mounts):
    complaint = shared_disk(Path("/srv/a/db.sqlite3"))
    assert "nfs4" in complaint
    assert "OPENCLIO_DATA_DIR" in complaint
    assert "DATABASE_URL" in complaint


def test_this_machine_has_some_file_system(tmp_path):
    assert shared_disk(tmp_path / "db.sqlite3") == ""
