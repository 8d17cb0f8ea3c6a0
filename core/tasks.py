"""What the queue may call in core."""

from django.utils import timezone

from core import q2
from core.models import Beat

# `Beat.name` of a pool: this, then the name its supervisor gave it.
CANARY_PREFIX = "canary:"


def canary(pool: str) -> None:
    """Show that `pool` takes tasks. Handed on when another pool on the same queue got it first."""
    if pool != q2.pool_name():
        q2.wake("core.tasks.canary", pool)
        return
    Beat.objects.update_or_create(
        name=f"{CANARY_PREFIX}{pool}", defaults={"beat_at": timezone.now()}
    )
