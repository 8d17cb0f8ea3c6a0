"""What holds the shape of the code together and no linter sees."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db import models
from django.utils.module_loading import import_string

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("core", "accounts", "providers", "projects", "templates_app", "analyses")
CODE = (*LAYERS, "config")
LONGEST = 400
LONGEST_TASK = 8


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_every_own_app_has_its_layer() -> None:
    own = {
        config.label
        for config in apps.get_app_configs()
        if Path(config.path).parent == ROOT and config.label != "config"
    }
    assert own == set(LAYERS)


def test_foreign_keys_go_down_only() -> None:
    rank = {label: place for place, label in enumerate(LAYERS)}
    found = 0
    for model in apps.get_models():
        if model._meta.app_label not in rank:
            continue
        for field in model._meta.get_fields():
            if not field.is_relation or field.auto_created or field.related_model is None:
                continue
            target = field.related_model._meta.app_label  # type: ignore[union-attr]
            if target in rank:
                found += 1
                assert rank[target] <= rank[model._meta.app_label], f"{model}.{field.name}"
    assert found > 30


def test_every_foreign_key_says_what_happens_on_deletion_and_has_an_index() -> None:
    for model in apps.get_models():
        if model._meta.app_label not in LAYERS:
            continue
        for field in model._meta.get_fields():
            if isinstance(field, models.ForeignKey):
                assert field.db_index, f"{model}.{field.name}"


def task_names() -> set[str]:
    """Every dotted path given to the queue, as written in the sources."""
    names = set()
    for path in sources(*CODE):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                parts = node.value.split(".")
                if len(parts) == 3 and parts[0] in CODE and parts[1] == "tasks":
                    names.add(node.value)
    return names


def test_tasks_resolve_by_name_and_decide_nothing() -> None:
    names = task_names()
    assert {"analyses.tasks.pump", "projects.tasks.run_import", "core.tasks.canary"} <= names
    for name in names:
        task = import_string(name)
        body = [line for line in inspect.getsource(task).splitlines() if line.strip()]
        assert len(body) <= LONGEST_TASK + 2, name
        for parameter in inspect.signature(task).parameters.values():
            if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
                assert parameter.annotation in ("int", "str", int, str), f"{name}: {parameter}"


def test_settings_name_what_exists() -> None:
    for name in (settings.AFTER_FIRST_OWNER, *getattr(settings, "TICKS", ())):
        assert callable(import_string(name))


@pytest.mark.parametrize("folder", [*CODE, "tests", "bench"])
def test_no_file_is_too_long(folder: str) -> None:
    longest = {
        str(path.relative_to(ROOT)): count
        for path in sources(folder)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST
    }
    assert longest == {}


def test_own_code_calls_own_code() -> None:
    """No receivers of the ORM's signals: what a change entails stands in its service."""
    banned = {"post_save", "pre_save", "post_delete", "pre_delete", "m2m_changed", "receiver"}
    for path in sources(*LAYERS):
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("django"):
                assert not banned & {alias.name for alias in node.names}, path


@pytest.mark.parametrize("app", LAYERS[1:])
def test_doors_do_not_know_each_other(app: str) -> None:
    for door, other in (("views", "api"), ("api", "views")):
        files = [*(ROOT / app).glob(f"{door}.py"), *(ROOT / app / door).glob("*.py")]
        for path in files:
            for node in ast.walk(parsed(path)):
                if isinstance(node, ast.ImportFrom):
                    assert not (node.module or "").startswith(f"{app}.{other}"), path
