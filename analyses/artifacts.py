"""Files of bulk numbers below the data folder, pointed at by ``Artifact`` rows.

The path contains the fence of the claim that wrote it: a worker that lost its lease writes a file
nobody points at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from django.conf import settings

from analyses.models import AnalysisSession, Artifact
from core.crashpoints import reach


def root() -> Path:
    """The folder of all artifacts."""
    return Path(settings.ARTIFACTS_ROOT)


def write_array(
    session: AnalysisSession, kind: str, mark: int | str, array: npt.NDArray[Any]
) -> str:
    """Write an array beside its final name, then move it there; returns the path to point at.

    ``mark`` names the claim that writes (:attr:`analyses.models.Batch.mark`), so that no writer
    can touch the file that another one was pointed at.
    """
    path = _place(session, f"{kind}-{mark}.npy")
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return _settle(temporary, path)


def write_bundle(
    session: AnalysisSession, kind: str, mark: int | str, **arrays: npt.NDArray[Any]
) -> str:
    """Write several arrays as one ``.npz`` file."""
    path = _place(session, f"{kind}-{mark}.npz")
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    return _settle(temporary, path)


def write_json(session: AnalysisSession, kind: str, mark: int | str, data: Any) -> str:
    """Write a JSON document."""
    path = _place(session, f"{kind}-{mark}.json")
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return _settle(temporary, path)


def point(session: AnalysisSession, kind: str, path: str, rows: int = 0) -> None:
    """Make ``path`` the artifact of this kind, inside the caller's transaction."""
    Artifact.objects.update_or_create(
        session=session, kind=kind, defaults={"path": path, "rows": rows}
    )


def load(session: AnalysisSession, kind: str) -> npt.NDArray[Any] | None:
    """The array of this kind, memory-mapped and read-only; ``None`` when there is none yet."""
    path = _find(session, kind)
    return np.load(path, mmap_mode="r", allow_pickle=False) if path else None


def load_bundle(session: AnalysisSession, kind: str) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays of an ``.npz`` artifact by name."""
    path = _find(session, kind)
    if path is None:
        return None
    with np.load(path, allow_pickle=False) as bundle:
        return {name: bundle[name] for name in bundle.files}


def load_json(session: AnalysisSession, kind: str) -> Any:
    """The JSON document of this kind, ``None`` when there is none yet."""
    path = _find(session, kind)
    return json.loads(path.read_text(encoding="utf-8")) if path else None


def is_missing(session: AnalysisSession, kind: str) -> bool:
    """Whether a row points at a file that is not on this machine."""
    row = Artifact.objects.filter(session=session, kind=kind).only("path").first()
    return row is not None and not (root() / row.path).exists()


def version(session: AnalysisSession, kind: str) -> int:
    """A number that changes whenever the artifact does; 0 when there is none."""
    row = Artifact.objects.filter(session=session, kind=kind).only("created_at").first()
    return int(row.created_at.timestamp() * 1000) if row else 0


def _place(session: AnalysisSession, name: str) -> Path:
    folder = root() / str(session.uid)
    folder.mkdir(parents=True, exist_ok=True)
    reach("before_artifact")
    return folder / name


def _settle(temporary: Path, path: Path) -> str:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    reach("after_artifact")
    return str(path.relative_to(root()))


def _find(session: AnalysisSession, kind: str) -> Path | None:
    row = Artifact.objects.filter(session=session, kind=kind).only("path").first()
    if row is None:
        return None
    path = root() / row.path
    return path if path.exists() else None
