from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("providers", "0001_first_tables")]

    operations = [
        migrations.AddField(
            model_name="modeldeployment",
            name="retired",
            field=models.BooleanField(
                default=False,
                help_text="Kept for the analyses that used it, not offered for new ones.",
            ),
        ),
    ]
