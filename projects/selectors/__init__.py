"""Reads about projects, data sets and jobs, ready for pages."""

from projects.selectors.data import (
    DatasetPage,
    LanguageRow,
    conversation,
    dataset,
    dataset_page,
    datasets,
    overview,
    project,
    projects,
)

__all__ = [
    "DatasetPage",
    "LanguageRow",
    "conversation",
    "dataset",
    "dataset_page",
    "datasets",
    "overview",
    "project",
    "projects",
]
