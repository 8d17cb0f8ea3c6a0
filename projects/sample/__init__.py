"""The sample data set that OpenClio ships: planted, seeded, written by hand."""

from projects.sample.generator import generate
from projects.sample.topics import (
    OFF_TOPIC,
    PLANTED_NEW,
    PLANTED_RISE,
    PLANTED_SINGLE_USER,
    THEMES,
    TOPICS,
    Topic,
)

__all__ = [
    "OFF_TOPIC",
    "PLANTED_NEW",
    "PLANTED_RISE",
    "PLANTED_SINGLE_USER",
    "THEMES",
    "TOPICS",
    "Topic",
    "generate",
]
