"""What a simulated installation begins with."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from accounts.models import User
from projects.models import Dataset
from providers.models import ModelDeployment
from templates_app.models import TemplateVersion


@dataclass(frozen=True)
class Stage:
    """The rows every schedule begins with, and a copy of the database that holds them."""

    actor: User
    dataset: Dataset
    version: TemplateVersion
    chat: ModelDeployment
    copy: sqlite3.Connection


@dataclass(frozen=True)
class Shape:
    """How large an installation is, and what is allowed to be spent."""

    workers: int = 2
    analyses: int = 1
    conversations: int = 6
    batch: int = 2
    concurrency: int = 2
    limit: float | None = None
    other_host: bool = False
    fineness: float = 0.5
    """How often a thread gives way where it may."""
    poison: str = ""
    """A question with these words stops the process that asks it."""


class Violation(AssertionError):
    """A rule was broken."""
