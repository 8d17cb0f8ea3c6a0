"""Does slow first-time work ahead of its first use."""

import os
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils.module_loading import import_string
from typing_extensions import override

from core.supervision.warmth import is_warm, mark_warm


class Command(BaseCommand):
    """`manage.py warm`"""

    help = "Compile the map's code now, at low priority, so that the first map need not wait."

    @override
    def handle(self, *_args: Any, **_options: Any) -> None:
        """Run every warm-up step, unless these versions did it here before."""
        if is_warm():
            return
        os.nice(15)
        settings.NUMBA_CACHE_DIR.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        for step in settings.WARM_STEPS:
            import_string(step)()
        mark_warm()
        self.stdout.write(f"Map code compiled in {time.monotonic() - begun:.0f} s.")
