"""What kind of disk a file lies on, and whether there is room to go on writing to it."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import psutil
from django.conf import settings

log = logging.getLogger("openclio.disks")

# File systems of other machines: their locks are not to be relied on, and SQLite loses data
# without ("How To Corrupt An SQLite Database File", section 2).
SHARED = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afs", "ceph", "glusterfs"}
)

RESERVE_BYTES = 1_000_000_000
RESERVE_SHARE = 0.02
"""Below the larger of the two no new work begins: what is under way can still be saved."""

BALLAST_BYTES = 64 * 1024 * 1024
"""A file that only takes up room. It is given up when less than its own size is left, so that
answers that were paid for can be saved although other programs filled the disk."""

BALLAST = "ballast"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


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


def has_room(folder: Path | None = None, *, ahead: int = 0) -> bool:
    """Whether the disk of ``folder`` (the data directory) may take ``ahead`` more bytes.

    False below the reserve: ``OPENCLIO_DISK_RESERVE_MB``, else the larger of
    :data:`RESERVE_BYTES` and :data:`RESERVE_SHARE` of the disk. A disk that cannot be asked is
    taken to have room: a write to it says more than we could.
    """
    try:
        usage = shutil.disk_usage(folder or settings.DATA_DIR)
    except OSError:
        return True
    return usage.free - ahead >= reserve(usage.total)


def reserve(total: int) -> int:
    """Bytes that are to stay free on a disk of ``total`` bytes."""
    if settings.DISK_RESERVE_MB is not None:
        return int(settings.DISK_RESERVE_MB) * 1_000_000
    return max(RESERVE_BYTES, int(total * RESERVE_SHARE))


def is_full(error: BaseException | None) -> bool:
    """Whether an error says that a disk, or somebody's part of it, is full."""
    return isinstance(error, OSError) and error.errno in FULL


def tick() -> None:
    """Keep the ballast while there is room, give it up when next to nothing is left."""
    ballast = settings.DATA_DIR / BALLAST
    if ballast.exists():
        if shutil.disk_usage(settings.DATA_DIR).free < BALLAST_BYTES:
            ballast.unlink(missing_ok=True)
            log.warning("The disk is full. 64 MB kept for this were freed, to save what is paid.")
    elif has_room(ahead=BALLAST_BYTES):
        _lay(ballast)


def _lay(ballast: Path) -> None:
    """Make the ballast under another name first, so that no half of one is left."""
    draft = ballast.with_name(f".{ballast.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        # Really taken: a file of zeros alone may take no room at all.
        os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
        draft.replace(ballast)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
