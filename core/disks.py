"""What kind of disk a file lies on."""

from pathlib import Path

import psutil

# File systems of other machines: their locks are not to be relied on, and SQLite loses data
# without ("How To Corrupt An SQLite Database File", section 2).
SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ceph", "glusterfs"}
)


def shared_disk(file: Path) -> str:
    """Why SQLite must not lie at `file`; empty when it may."""
    kind = file_system(file)
    if kind not in SHARED:
        return ""
    return (
        f"{file} is on a network file system ({kind}), where SQLite loses data. Set "
        "OPENCLIO_DATA_DIR to a local disk, or DATABASE_URL to a PostgreSQL server."
    )


def file_system(file: Path) -> str:
    """The type of the mounted file system that holds `file`, in lower case; empty if unknown."""
    above = {str(parent) for parent in file.resolve().parents}
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.mountpoint in above]
    nearest = max(mounts, key=lambda mount: len(mount.mountpoint), default=None)
    return nearest.fstype.lower() if nearest else ""
