"""What an analysis will ask of models, worked out from a sample before anything is asked."""

from analyses.pipeline.forecast.loads import Load, Observed, Range, exactly
from analyses.pipeline.forecast.reading import KEYS, Population, Probe, forecast, probe

__all__ = [
    "KEYS",
    "Load",
    "Observed",
    "Population",
    "Probe",
    "Range",
    "exactly",
    "forecast",
    "probe",
]
