"""What leaves an analysis as files."""

from analyses.export.rows import (
    as_text,
    clusters_json,
    conversations_csv,
    report_json,
    run_json,
)

__all__ = ["as_text", "clusters_json", "conversations_csv", "report_json", "run_json"]
