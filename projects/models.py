"""Projects, the data sets uploaded to them and the conversations inside."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from accounts.models import Role, User, Workspace
from core.ids import uuid7
from core.models import LeasedWork


class ProjectQuerySet(models.QuerySet["Project"]):
    """Projects by who may see them."""

    def for_user(self, user: User) -> ProjectQuerySet:
        """Projects of the workspaces the person belongs to; nothing for strangers."""
        if not user.is_active:  # as anonymous visitors are
            return self.none()
        found = self.filter(workspace__memberships__user=user)
        key = user.acting_key
        return found.filter(workspace=key.workspace_id) if key is not None else found


class Project(models.Model):
    """A place for data, analyses, templates and people."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="projects")
    name = models.CharField(max_length=120)
    slug = models.SlugField(max_length=60, unique=True)
    description = models.TextField(blank=True, max_length=2000)
    language = models.CharField(
        max_length=40, default="English", help_text="Language that answers are written in."
    )
    is_sample = models.BooleanField(default=False)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    @override
    def __str__(self) -> str:
        return self.name


class ProjectMember(models.Model):
    """A role in one project that differs from the role in its workspace."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="project_roles")
    role = models.CharField(max_length=10, choices=Role.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="projects_member_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.user} · {self.get_role_display()}"


class DatasetStatus(models.TextChoices):
    """Whether a data set can be analysed."""

    IMPORTING = "importing", "Reading"
    READY = "ready", "Ready"
    FAILED = "failed", "Failed"


class Dataset(models.Model):
    """Conversations uploaded together. ``conversation_count`` counts the readable ones."""

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="datasets")
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=160)
    status = models.CharField(
        max_length=10, choices=DatasetStatus.choices, default=DatasetStatus.IMPORTING
    )
    conversation_count = models.PositiveIntegerField(default=0)
    message_count = models.PositiveBigIntegerField(default=0)
    token_count = models.PositiveBigIntegerField(default=0)
    user_count = models.PositiveIntegerField(default=0)
    first_at = models.DateTimeField(null=True, blank=True)
    last_at = models.DateTimeField(null=True, blank=True)
    languages = models.JSONField(default=dict, blank=True, help_text="Conversations by language.")
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(
        null=True, blank=True, db_index=True, help_text="In the trash since."
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(fields=["project", "number"], name="projects_dataset_number"),
        ]

    @override
    def __str__(self) -> str:
        return self.name


class Import(LeasedWork):
    """Reading one uploaded file into a data set, as leased work."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="imports")
    file = models.CharField(max_length=300, help_text="Path inside the data folder.")
    filename = models.CharField(max_length=200, help_text="As the person named it.")
    size = models.PositiveBigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    format = models.CharField(max_length=40, blank=True)
    bytes_read = models.PositiveBigIntegerField(default=0)
    accepted = models.PositiveIntegerField(default=0)
    rejected = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-id"]

    @override
    def __str__(self) -> str:
        return self.filename


class ImportProblem(models.Model):
    """One place of an uploaded file that could not be read, with the reason."""

    record = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="problems")
    line = models.PositiveIntegerField()
    kind = models.CharField(max_length=40)
    reason = models.CharField(max_length=300)
    excerpt = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["line"]

    @override
    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class Conversation(models.Model):
    """One exchange, the smallest thing we read.

    ``position`` numbers the conversations of a data set densely from 0 in file order.
    ``messages`` is a list of ``{"role", "content", "ts"?}``, validated by ``projects.documents``.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="conversations")
    record = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="conversations")
    position = models.PositiveIntegerField()
    external_id = models.CharField(max_length=200)
    end_user = models.CharField(max_length=200, blank=True)
    language = models.CharField(max_length=12, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    message_count = models.PositiveIntegerField()
    token_count = models.PositiveIntegerField()
    content_hash = models.CharField(max_length=64)
    messages = models.JSONField()
    metadata = models.JSONField(default=dict, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True, help_text="In the trash since.")

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "position"], name="projects_conversation_position"
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "external_id"], name="projects_conversation_ext"),
            models.Index(fields=["dataset", "content_hash"], name="projects_conversation_hash"),
        ]

    @override
    def __str__(self) -> str:
        return self.external_id


class JobKind(models.TextChoices):
    """Long work other than imports and analyses. Apps register what a kind does."""

    EXPORT = "export", "Export"
    DELETE_DATASETS = "delete_datasets", "Delete data sets"
    DELETE_ANALYSES = "delete_analyses", "Delete analyses"
    DELETE_CONVERSATIONS = "delete_conversations", "Delete conversations"
    REEMBED = "reembed", "Embed again"
    RECLUSTER = "recluster", "Cluster again"
    REREAD = "reread", "Read again"
    COMPARE = "compare", "Compare models"
    PURGE = "purge", "Empty the trash"


class Job(LeasedWork):
    """A piece of long work over explicit items or over all that matched a filter.

    ``params`` hold what was asked for, ids and settings only. ``total``, ``done``, ``failed`` and
    ``skipped`` count items; ``result`` is what the page links to at the end.
    """

    uid = models.UUIDField(default=uuid7, unique=True, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="jobs")
    kind = models.CharField(max_length=24, choices=JobKind.choices)
    title = models.CharField(max_length=200)
    params = models.JSONField(default=dict, blank=True)
    cancel_wanted = models.BooleanField(default=False)
    total = models.PositiveIntegerField(default=0)
    done = models.PositiveIntegerField(default=0)
    failed = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    result = models.JSONField(default=dict, blank=True)
    file = models.CharField(max_length=300, blank=True, help_text="Path inside the data folder.")
    file_until = models.DateTimeField(null=True, blank=True, help_text="When the file goes.")
    undo_until = models.DateTimeField(null=True, blank=True)
    undone_at = models.DateTimeField(null=True, blank=True)
    retry_of = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="retries"
    )
    started_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=JobKind.values), name="projects_job_kind_known"
            ),
        ]
        indexes = [models.Index(fields=["project", "status"], name="projects_job_open")]

    @override
    def __str__(self) -> str:
        return self.title

    @property
    def topic(self) -> str:
        """The event topic of this job."""
        return f"job:{self.pk}"


class ItemState(models.TextChoices):
    """What became of one item of a job."""

    WAITING = "waiting", "Waiting"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    SKIPPED = "skipped", "Left out"


class JobItem(models.Model):
    """One item of a job: the selection is frozen into these rows when the job is made."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="items")
    ref = models.PositiveBigIntegerField(help_text="Primary key of the item.")
    label = models.CharField(max_length=200, blank=True)
    state = models.CharField(max_length=8, choices=ItemState.choices, default=ItemState.WAITING)
    error = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["job", "ref"], name="projects_job_item_once"),
        ]
        indexes = [models.Index(fields=["job", "state"], name="projects_job_item_state")]

    @override
    def __str__(self) -> str:
        return self.label or str(self.ref)
