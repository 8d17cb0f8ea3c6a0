"""Fill the books of spending from the calls that were journalled before there were books."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal

from django.db import migrations


def keys(sort, when):
    """The periods' keys as :func:`providers.services.books.books_of` names them."""
    return ["all"] if sort == "analysis" else [when.strftime("%Y-%m-%d"), when.strftime("%Y-%m")]


def fill(apps, schema_editor):
    """Sum up what calls cost and what sends in doubt are counted with; nothing is out now."""
    call_model = apps.get_model("providers", "LlmCall")
    attempt_model = apps.get_model("providers", "LlmAttempt")
    book_model = apps.get_model("providers", "SpendBook")
    sums = defaultdict(lambda: [Decimal(0), Decimal(0)])

    def add(place, workspace, project, analysis, when, amount):
        for sort, number in (
            ("analysis", analysis),
            ("project", project),
            ("workspace", workspace),
        ):
            if number is not None:
                for key in keys(sort, when):
                    sums[f"{sort}:{number}", key][place] += amount

    columns = ("workspace_id", "project_id", "analysis_id")
    spent = call_model.objects.filter(cost__gt=0).values_list(*columns, "sent_at", "cost")
    for row in spent.iterator(chunk_size=5000):
        add(0, *row)
    doubted = attempt_model.objects.filter(in_doubt=True, cost__gt=0).values_list(
        *(f"call__{name}" for name in columns), "created_at", "cost"
    )
    for row in doubted.iterator(chunk_size=5000):
        add(1, *row)
    book_model.objects.bulk_create(
        [
            book_model(scope=scope, key=key, spent=spent, doubt=doubt)
            for (scope, key), (spent, doubt) in sorted(sums.items())
        ],
        batch_size=500,
        update_conflicts=True,
        unique_fields=["scope", "key"],
        update_fields=["spent", "doubt"],
    )


def empty(apps, schema_editor):
    """Take the books away; they can be filled again from the journal."""
    apps.get_model("providers", "SpendBook").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("providers", "0004_tickets_of_sends")]

    operations = [migrations.RunPython(fill, empty)]
