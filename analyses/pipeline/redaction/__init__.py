"""Removing personal details before any model, index or page sees a text."""

from analyses.pipeline.redaction.engine import (
    KINDS,
    PLACEHOLDER,
    apply_spans,
    redact_text,
    redact_turns,
    replacement,
    segments,
)
from analyses.pipeline.redaction.hostile import clean_text
from analyses.pipeline.redaction.names import KEPT_ROLES, speaker_labels

__all__ = [
    "KEPT_ROLES",
    "KINDS",
    "PLACEHOLDER",
    "apply_spans",
    "clean_text",
    "redact_text",
    "redact_turns",
    "replacement",
    "segments",
    "speaker_labels",
]
