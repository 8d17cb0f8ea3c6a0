from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('providers', '0006_gateway_routes_health_and_batches'),
    ]

    operations = [
        migrations.AddField(
            model_name='llmcall',
            name='tokens_reserved',
            field=models.PositiveIntegerField(
                default=0, help_text='The most tokens its newest send can take, in and out.'
            ),
        ),
        migrations.AddField(
            model_name='uselimit',
            name='warned_for',
            field=models.CharField(
                blank=True,
                default='',
                help_text='Day for which the 80 % warning was given.',
                max_length=10,
            ),
            preserve_default=False,
        ),
    ]
