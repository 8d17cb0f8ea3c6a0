"""One more kind of job."""

from django.db import migrations, models

KINDS = [
    ("export", "Export"),
    ("delete_datasets", "Delete data sets"),
    ("delete_analyses", "Delete analyses"),
    ("delete_conversations", "Delete conversations"),
    ("reembed", "Embed again"),
    ("recluster", "Cluster again"),
    ("reread", "Read again"),
    ("compare", "Compare models"),
    ("purge", "Empty the trash"),
]


class Migration(migrations.Migration):
    dependencies = [("projects", "0002_jobs_and_trash")]

    operations = [
        migrations.RemoveConstraint(model_name="job", name="projects_job_kind_known"),
        migrations.AlterField(
            model_name="job",
            name="kind",
            field=models.CharField(choices=KINDS, max_length=24),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=models.CheckConstraint(
                condition=models.Q(("kind__in", [kind for kind, _ in KINDS])),
                name="projects_job_kind_known",
            ),
        ),
    ]
