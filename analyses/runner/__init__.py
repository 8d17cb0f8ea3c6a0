"""Worker-time shell of analyses: claim, drive a stage, save."""

from analyses.runner.worker import Worker

__all__ = ["Worker"]
