from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("templates_app", "0001_first_tables")]

    operations = [
        migrations.RemoveConstraint(model_name="analysistemplate", name="templates_key_once"),
        migrations.AddConstraint(
            model_name="analysistemplate",
            constraint=models.UniqueConstraint(
                fields=["workspace", "key"], name="templates_key_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="analysistemplate",
            constraint=models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(workspace=None),
                name="templates_shipped_key_once",
            ),
        ),
    ]
