"""What the queue may call in core."""

from django.utils import timezone

from core.models import Beat

# `Beat.name` of a pool: this, then the name its supervisor gave it.
CANARY_PREFIX = "canary:"


def canary(pool: str) -> None:
    """Show that `pool` takes tasks. Nobody else may take this one (``q2.wake``, ``only``): one
    that another host fetched and left lying would have a healthy pool replaced."""
    Beat.objects.update_or_create(
        name=f"{CANARY_PREFIX}{pool}", defaults={"beat_at": timezone.now()}
    )
