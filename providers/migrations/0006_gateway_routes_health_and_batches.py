"""Routes, shared health, use limits, dated prices, the semantic cache and provider batches."""

import core.ids
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_first_tables'),
        ('providers', '0005_books_from_the_journal'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='CacheDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project_id', models.BigIntegerField(default=0, help_text='0: outside a project.')),
                ('purpose', models.CharField(max_length=20)),
                ('day', models.DateField()),
                ('hits', models.PositiveBigIntegerField(default=0)),
                ('semantic_hits', models.PositiveBigIntegerField(default=0)),
                ('misses', models.PositiveBigIntegerField(default=0)),
                ('tokens_saved', models.PositiveBigIntegerField(default=0)),
                ('saved', models.DecimalField(decimal_places=8, default=0, max_digits=18)),
            ],
        ),
        migrations.CreateModel(
            name='DeploymentHealth',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('closed', 'In use'), ('open', 'Resting'), ('half_open', 'Being tried'), ('rested', 'Rested by hand')], default='closed', max_length=10)),
                ('version', models.PositiveIntegerField(default=0)),
                ('reason', models.CharField(blank=True, help_text="An error class, or 'by hand'.", max_length=20)),
                ('detail', models.CharField(blank=True, max_length=300)),
                ('opens', models.PositiveSmallIntegerField(default=0)),
                ('retry_at', models.DateTimeField(blank=True, null=True)),
                ('probe_owner', models.CharField(blank=True, max_length=120)),
                ('probe_until', models.DateTimeField(blank=True, null=True)),
                ('changed_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='HealthChange',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('state', models.CharField(choices=[('closed', 'In use'), ('open', 'Resting'), ('half_open', 'Being tried'), ('rested', 'Rested by hand')], max_length=10)),
                ('reason', models.CharField(blank=True, max_length=20)),
                ('detail', models.CharField(blank=True, max_length=300)),
                ('analysis_id', models.BigIntegerField(blank=True, null=True)),
                ('went_to', models.CharField(blank=True, max_length=200)),
                ('switch_ms', models.PositiveIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='HealthSlot',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('start', models.DateTimeField()),
                ('owner', models.CharField(max_length=120)),
                ('answered', models.PositiveIntegerField(default=0)),
                ('slow', models.PositiveIntegerField(default=0)),
                ('failed', models.PositiveIntegerField(default=0)),
                ('recovered', models.PositiveIntegerField(default=0, help_text='Calls that failed first and were answered in the end.')),
                ('tokens', models.PositiveBigIntegerField(default=0)),
                ('errors', models.JSONField(blank=True, default=dict)),
                ('latencies', models.JSONField(blank=True, default=list)),
            ],
        ),
        migrations.CreateModel(
            name='Member',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('owner', models.CharField(max_length=120)),
                ('in_flight', models.PositiveIntegerField(default=0)),
                ('wanted', models.PositiveIntegerField(default=0)),
                ('limit', models.PositiveIntegerField(default=0)),
                ('requests_left', models.PositiveIntegerField(blank=True, null=True)),
                ('tokens_left', models.PositiveBigIntegerField(blank=True, null=True)),
                ('seen_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='ModelPrice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('effective_from', models.DateTimeField(default=django.utils.timezone.now)),
                ('price_in', models.DecimalField(decimal_places=6, max_digits=12)),
                ('price_out', models.DecimalField(decimal_places=6, default=0, max_digits=12)),
                ('price_cached', models.DecimalField(blank=True, decimal_places=6, max_digits=12, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['deployment', '-effective_from'],
            },
        ),
        migrations.CreateModel(
            name='ProviderBatch',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('uid', models.UUIDField(default=core.ids.uuid7, editable=False, unique=True)),
                ('analysis_id', models.BigIntegerField(blank=True, db_index=True, null=True)),
                ('state', models.CharField(choices=[('preparing', 'Being sent'), ('working', 'At the provider'), ('ended', 'Collected'), ('lost', 'Never arrived')], default='preparing', max_length=10)),
                ('remote_id', models.CharField(blank=True, max_length=200)),
                ('remote_state', models.CharField(blank=True, max_length=40)),
                ('owner', models.CharField(blank=True, max_length=120)),
                ('size', models.PositiveIntegerField(default=0)),
                ('collected', models.PositiveIntegerField(default=0)),
                ('missing', models.PositiveIntegerField(default=0)),
                ('polled_at', models.DateTimeField(blank=True, null=True)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
                ('ended_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-id'],
            },
        ),
        migrations.CreateModel(
            name='ProviderBatchLine',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('custom_id', models.CharField(db_index=True, max_length=64)),
                ('outcome', models.CharField(blank=True, max_length=10)),
                ('answer', models.JSONField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Route',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('purpose', models.CharField(choices=[('facets', 'Facets'), ('names', 'Names'), ('hierarchy', 'Hierarchy'), ('privacy', 'Privacy check'), ('ask', 'Ask your data'), ('embeddings', 'Embeddings')], max_length=12)),
                ('strategy', models.CharField(choices=[('priority', 'In this order'), ('weighted', 'By weight'), ('round_robin', 'In turn'), ('least_busy', 'Least busy first'), ('lowest_latency', 'Fastest first'), ('cheapest', 'Cheapest first')], default='priority', max_length=16)),
                ('semantic', models.CharField(choices=[('off', 'Off'), ('shadow', 'Watch only'), ('on', 'On')], default='off', max_length=8)),
                ('cache_days', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('shadow_compared', models.PositiveIntegerField(default=0)),
                ('shadow_agreed', models.PositiveIntegerField(default=0)),
                ('changed_at', models.DateTimeField(auto_now=True)),
            ],
            options={
                'ordering': ['workspace', 'purpose'],
            },
        ),
        migrations.CreateModel(
            name='RouteTarget',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveSmallIntegerField()),
                ('weight', models.PositiveSmallIntegerField(default=1)),
            ],
            options={
                'ordering': ['route', 'position'],
            },
        ),
        migrations.CreateModel(
            name='SemanticEntry',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('project_id', models.BigIntegerField()),
                ('purpose', models.CharField(max_length=20)),
                ('space', models.CharField(max_length=64)),
                ('guard', models.CharField(max_length=64)),
                ('vector', models.BinaryField()),
                ('created_at', models.DateTimeField(default=django.utils.timezone.now)),
            ],
        ),
        migrations.CreateModel(
            name='UseBook',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(max_length=40)),
                ('window', models.CharField(max_length=16)),
                ('requests', models.PositiveBigIntegerField(default=0)),
                ('tokens', models.PositiveBigIntegerField(default=0)),
                ('reserved', models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='UseLimit',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('scope', models.CharField(max_length=40)),
                ('requests_per_minute', models.PositiveIntegerField(blank=True, null=True)),
                ('tokens_per_day', models.PositiveBigIntegerField(blank=True, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
            options={
                'ordering': ['scope'],
            },
        ),
        migrations.AddField(
            model_name='llmcall',
            name='batched',
            field=models.BooleanField(default=False, help_text="Sent through a provider's batch API."),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='deployment_id',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='key_id',
            field=models.BigIntegerField(blank=True, help_text='The API key that asked.', null=True),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='tokens_reasoning',
            field=models.PositiveIntegerField(default=0, help_text='Part of tokens out.'),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='used_at',
            field=models.DateTimeField(blank=True, help_text='When its stored answer was last read, to the hour.', null=True),
        ),
        migrations.AddField(
            model_name='llmcall',
            name='user_id',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='dimensions',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='offers_batches',
            field=models.BooleanField(default=False, help_text='Half the price, within a day.'),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='price_cached',
            field=models.DecimalField(blank=True, decimal_places=6, help_text="US$ per million tokens read from the provider's cache.", max_digits=12, null=True),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='probed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='supports_streaming',
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='modeldeployment',
            name='supports_tools',
            field=models.BooleanField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='provider',
            name='ca_certificates',
            field=models.TextField(blank=True, help_text="PEM, trusted besides the system's."),
        ),
        migrations.AddField(
            model_name='provider',
            name='key_changed_at',
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='provider',
            name='preset',
            field=models.CharField(blank=True, max_length=20),
        ),
        migrations.AddField(
            model_name='provider',
            name='proxy_encrypted',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='provider',
            name='requests_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='provider',
            name='spare_key_encrypted',
            field=models.TextField(blank=True),
        ),
        migrations.AddField(
            model_name='provider',
            name='spare_key_hint',
            field=models.CharField(blank=True, max_length=8),
        ),
        migrations.AddField(
            model_name='provider',
            name='tokens_per_minute',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AlterField(
            model_name='provider',
            name='kind',
            field=models.CharField(choices=[('local', 'Local engine'), ('openai', 'OpenAI-compatible'), ('anthropic', 'Anthropic'), ('scripted', 'Scripted')], max_length=12),
        ),
        migrations.AddIndex(
            model_name='llmcall',
            index=models.Index(fields=['workspace', 'sent_at'], name='providers_call_by_time'),
        ),
        migrations.AddField(
            model_name='cacheday',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cache_days', to='accounts.workspace'),
        ),
        migrations.AddField(
            model_name='deploymenthealth',
            name='deployment',
            field=models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='health', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='healthchange',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='changes', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='healthslot',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='slots', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='member',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='members', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='modelprice',
            name='created_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='modelprice',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prices', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='providerbatch',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bulk', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='providerbatch',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='bulk', to='accounts.workspace'),
        ),
        migrations.AddField(
            model_name='providerbatchline',
            name='batch',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='lines', to='providers.providerbatch'),
        ),
        migrations.AddField(
            model_name='route',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='routes', to='accounts.workspace'),
        ),
        migrations.AddField(
            model_name='routetarget',
            name='deployment',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='providers.modeldeployment'),
        ),
        migrations.AddField(
            model_name='routetarget',
            name='route',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='targets', to='providers.route'),
        ),
        migrations.AddField(
            model_name='semanticentry',
            name='call',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='semantic', to='providers.llmcall'),
        ),
        migrations.AddField(
            model_name='semanticentry',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='semantic', to='accounts.workspace'),
        ),
        migrations.AddField(
            model_name='usebook',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='use_books', to='accounts.workspace'),
        ),
        migrations.AddField(
            model_name='uselimit',
            name='created_by',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='uselimit',
            name='workspace',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='use_limits', to='accounts.workspace'),
        ),
        migrations.AddConstraint(
            model_name='cacheday',
            constraint=models.UniqueConstraint(fields=('workspace', 'project_id', 'purpose', 'day'), name='providers_cache_day_once'),
        ),
        migrations.AddIndex(
            model_name='healthchange',
            index=models.Index(fields=['deployment', '-created_at'], name='providers_changes'),
        ),
        migrations.AddIndex(
            model_name='healthslot',
            index=models.Index(fields=['start'], name='providers_slot_start'),
        ),
        migrations.AddConstraint(
            model_name='healthslot',
            constraint=models.UniqueConstraint(fields=('deployment', 'start', 'owner'), name='providers_slot_once'),
        ),
        migrations.AddConstraint(
            model_name='member',
            constraint=models.UniqueConstraint(fields=('deployment', 'owner'), name='providers_member_once'),
        ),
        migrations.AddConstraint(
            model_name='modelprice',
            constraint=models.UniqueConstraint(fields=('deployment', 'effective_from'), name='providers_price_once_a_moment'),
        ),
        migrations.AddConstraint(
            model_name='modelprice',
            constraint=models.CheckConstraint(condition=models.Q(('price_in__gte', 0), ('price_out__gte', 0)), name='providers_dated_price_not_negative'),
        ),
        migrations.AddIndex(
            model_name='providerbatch',
            index=models.Index(fields=['workspace', 'state'], name='providers_bulk_state'),
        ),
        migrations.AddConstraint(
            model_name='providerbatchline',
            constraint=models.UniqueConstraint(fields=('batch', 'custom_id'), name='providers_line_once'),
        ),
        migrations.AddConstraint(
            model_name='route',
            constraint=models.UniqueConstraint(fields=('workspace', 'purpose'), name='providers_route_once'),
        ),
        migrations.AddConstraint(
            model_name='routetarget',
            constraint=models.UniqueConstraint(fields=('route', 'deployment'), name='providers_route_target_once'),
        ),
        migrations.AddIndex(
            model_name='semanticentry',
            index=models.Index(fields=['workspace', 'space', 'guard'], name='providers_semantic'),
        ),
        migrations.AddConstraint(
            model_name='usebook',
            constraint=models.UniqueConstraint(fields=('workspace', 'scope', 'window'), name='providers_use_book_once'),
        ),
        migrations.AddConstraint(
            model_name='uselimit',
            constraint=models.UniqueConstraint(fields=('workspace', 'scope'), name='providers_use_limit_once'),
        ),
    ]
