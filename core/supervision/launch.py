"""Starts a program that dies with its parent: `python launch.py PARENT_PID PROGRAM ARGUMENT...`.

A file to be run by path, so that it costs one small interpreter start and no imports of ours. The
setting survives exec(2), which is why it needs no code inside the program.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from kernel import die_with_parent  # type: ignore[import-not-found]

if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  # the command is the supervisor's own
