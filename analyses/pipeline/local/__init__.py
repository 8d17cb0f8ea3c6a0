"""The local engine: the whole pipeline without a model, honest about it."""

from analyses.pipeline.local.embedding import embedding_text
from analyses.pipeline.local.engine import MODEL_LABEL, LocalEngine

__all__ = ["MODEL_LABEL", "LocalEngine", "embedding_text"]
