"""The shipped templates: valid, loaded once, renewed when a file changes."""

from __future__ import annotations

import pytest
from django.db import IntegrityError

from analyses.pipeline.facets import SHIPPED_FACETS
from templates_app import services
from templates_app.models import AnalysisTemplate, FacetDefinition, TemplateVersion
from templates_app.selectors import newest_version

pytestmark = pytest.mark.django_db


def test_shared_facets_are_worded_as_the_pipeline_words_them() -> None:
    # The layers forbid the one to read the other, so this holds them together.
    ours = services.common_facets()
    assert list(ours) == [spec.key for spec in SHIPPED_FACETS]
    for spec in SHIPPED_FACETS:
        facet = ours[spec.key]
        assert facet.question == spec.question
        assert (facet.label, facet.kind.value) == (spec.label, spec.kind)
        assert facet.choices == tuple(spec.choices)


def test_loads_every_shipped_template_with_its_facets() -> None:
    services.ensure_shipped()
    names = list(AnalysisTemplate.objects.values_list("name", flat=True))
    assert names[0] == "Customer support"
    assert {"LLM assistant logs", "General conversations"} <= set(names)
    version = newest_version(None, "customer-support")
    assert version is not None
    assert version.number == 1
    keys = [facet.key for facet in version.facets.all()]
    assert keys == [*services.common_facets(), "cause"]


def test_loading_again_changes_nothing() -> None:
    services.ensure_shipped()
    before = (TemplateVersion.objects.count(), FacetDefinition.objects.count())
    services.ensure_shipped()
    assert (TemplateVersion.objects.count(), FacetDefinition.objects.count()) == before


def test_a_changed_file_becomes_a_new_version_and_the_old_one_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services.ensure_shipped()
    changed = [
        row.model_copy(update={"instructions": "Be brief."}) if row.key == "general" else row
        for row in services.shipped_templates()
    ]
    monkeypatch.setattr(services, "shipped_templates", lambda: changed)
    services.ensure_shipped()
    template = AnalysisTemplate.objects.get(key="general")
    assert [row.number for row in template.versions.all()] == [1, 2]
    assert newest_version(None, "general").instructions == "Be brief."
    assert TemplateVersion.objects.filter(template__key="customer-support").count() == 1


def test_embeds_a_text_facet_that_the_template_asks() -> None:
    for shipped in services.shipped_templates():
        asked = [*shipped.use, *(facet.key for facet in shipped.facets)]
        assert shipped.embed_facet in asked
        assert len(set(asked)) == len(asked)


def test_a_shipped_key_exists_once() -> None:
    services.ensure_shipped()
    with pytest.raises(IntegrityError):
        AnalysisTemplate.objects.create(workspace=None, key="general", name="Again")
