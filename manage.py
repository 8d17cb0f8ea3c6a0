#!/usr/bin/env python3
"""The command line of OpenClio: `./manage.py help`."""

import os
import sys

OLDEST = (3, 11)

# What shells report for a program that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def main() -> None:
    """Run one management command."""
    if sys.version_info < OLDEST:
        sys.exit("OpenClio needs Python 3.11 or newer; `make run` finds or asks for one.")
    # Numeric libraries read these when first imported. More threads than one per process fight
    # over the cores with the other workers and spin while they wait.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit("The requirements are not installed here. Begin with `make run`.")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Configuration: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
