"""What Linux offers so that no process outlives the one that answers for it.

On other systems these calls do nothing: an orderly stop works there as well, only a supervisor
that is killed outright leaves its children behind. Constants: `linux/prctl.h`, prctl(2).
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends.

    `parent` is the pid it should still have; if it ended before this call, so does this process.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be reaped here."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent_in_every_fork() -> None:
    """From now on every forked descendant dies with its parent, at any depth.

    The kernel clears the setting at each fork, so it is set again in each child.
    """
    parent = [os.getpid()]

    def before() -> None:
        parent[0] = os.getpid()

    def after() -> None:
        die_with_parent(parent[0])

    os.register_at_fork(before=before, after_in_child=after)
