"""Breaks the product on purpose, in the processes of one test: does the crash loop notice?

Python imports this module at its start where its folder is on the path. ``CRASH_MUTANT`` names
what is broken.
"""

import importlib.abc
import importlib.machinery
import os
import sys


def no_journal(runner):
    """Answers that were paid for are not found again."""
    stored = runner.stored

    def emptied(row):
        answer = stored(row)
        return type(answer)("", answer.model)

    runner.stored = emptied
    runner.DatabaseJournal.read = lambda self, fingerprints: {}


MUTANTS = {"no_journal": ("providers.runner.journal", no_journal)}


class Breaking(importlib.abc.MetaPathFinder):
    """Breaks one module right after it was loaded."""

    def __init__(self, module, change):
        self._module, self._change = module, change

    def find_spec(self, name, path=None, target=None):
        if name != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module

        def load_and_break(module):
            load(module)
            self._change(module)

        spec.loader.exec_module = load_and_break
        return spec


if mutant := os.environ.get("CRASH_MUTANT"):
    sys.meta_path.insert(0, Breaking(*MUTANTS[mutant]))
