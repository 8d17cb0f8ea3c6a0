"""Where static files are kept once they are built."""

from __future__ import annotations

from whitenoise.storage import CompressedManifestStaticFilesStorage

IMPORTS = (r"(?P<matched>\bfrom\s*'(?P<url>\./[^']+)')", "from '%(url)s'")
"""The end of an import between our modules, and how it is written again."""


class BuiltStaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # untyped  # type: ignore[misc]  # whitenoise is untyped
    """Every file under a name with a fingerprint, which browsers may keep for ever.

    Django leaves the imports between ES modules alone unless asked: a new page would then run
    beside old copies of what it imports. Its own switch, ``support_js_module_import_aggregation``,
    rewrites the scripts of every installed app and stops at the first whose imports a bundler was
    to resolve (django-htmx ships one), so only our own directory is rewritten here.
    """

    patterns = (*CompressedManifestStaticFilesStorage.patterns, ("js/*.js", (IMPORTS,)))
