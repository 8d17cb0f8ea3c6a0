"""What each kind of job does to data sets, conversations and analyses."""

from analyses.services.jobs.copying import Recluster, Reembed
from analyses.services.jobs.deleting import (
    DeleteAnalyses,
    DeleteConversations,
    DeleteDatasets,
)
from analyses.services.jobs.purging import Purge
from analyses.services.jobs.rereading import Reread

__all__ = [
    "DeleteAnalyses",
    "DeleteConversations",
    "DeleteDatasets",
    "Purge",
    "Recluster",
    "Reembed",
    "Reread",
]
