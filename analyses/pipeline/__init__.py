"""The analysis pipeline: plain Python, one module a stage, nothing of Django.

``STAGES`` maps a stage's key to its class, in the order an analysis goes through them. A class is
imported when it is asked for, so that importing the package stays cheap.
"""

from analyses.pipeline.registry import STAGES

__all__ = ["STAGES"]
