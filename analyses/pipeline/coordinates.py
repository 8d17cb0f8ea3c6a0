"""Map places as two 16-bit numbers, for files and pages. Light: pages import it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analyses.pipeline.base import Matrix


def to_u16(xy: Matrix) -> npt.NDArray[np.uint16]:
    """Coordinates in [-1, 1] as 16-bit steps, shape ``(n, 2)``; outside values are clipped."""
    steps = np.rint((np.clip(xy, -1.0, 1.0).astype(np.float64) + 1.0) * 32767.5)
    return steps.astype(np.uint16)


def from_u16(steps: npt.NDArray[np.uint16]) -> Matrix:
    """What :func:`to_u16` stored, exact to 1/65,535 of the width."""
    return (steps.astype(np.float64) / 32767.5 - 1.0).astype(np.float32)
