"""Changes to analyses. Every door calls these."""

from analyses.services.advance import advance, block, saved
from analyses.services.retry import change_providers, retry_failed
from analyses.services.sample import ensure_sample_session, welcome
from analyses.services.sessions import cancel, pause, resume, start_session, tick

__all__ = [
    "advance",
    "block",
    "cancel",
    "change_providers",
    "ensure_sample_session",
    "pause",
    "resume",
    "retry_failed",
    "saved",
    "start_session",
    "tick",
    "welcome",
]
