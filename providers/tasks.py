"""What the queue may call in providers. A task only says "look"; state is in the tables."""

from __future__ import annotations

from providers import services


def bound_answers(*ignored: object) -> None:
    """Keep the stored answers of every workspace within their room."""
    services.bound_all_answers()
