"""Built static files: every script, imported ones too, has a name that changes with its content."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.core.files.base import ContentFile
from django.test import Client, override_settings

from config.storage import BuiltStaticFiles

ROOT = Path(__file__).resolve().parents[2]
FINGERPRINT = re.compile(r"\.[0-9a-f]{12}\.js$")


@pytest.fixture
def built(tmp_path: Path) -> BuiltStaticFiles:
    """Our scripts after what `collectstatic` does with them."""
    storage = BuiltStaticFiles(location=tmp_path, base_url="/static/")
    paths = {}
    for source in (ROOT / "static" / "js").glob("*.js"):
        name = f"js/{source.name}"
        storage.save(name, ContentFile(source.read_bytes()))
        paths[name] = (storage, name)
    for _, _, done in storage.post_process(paths):
        assert not isinstance(done, Exception), done
    return storage


def imports(storage: BuiltStaticFiles, name: str) -> list[str]:
    text = (Path(storage.location) / storage.stored_name(name)).read_text()
    return re.findall(r"from\s*['\"]([^'\"]+)['\"]", text)


def test_imports_between_modules_carry_the_fingerprint(built: BuiltStaticFiles) -> None:
    found = [one for name in ("js/live.js", "js/explore.js") for one in imports(built, name)]
    assert len(found) >= 4
    for address in found:
        assert FINGERPRINT.search(address), address
        assert (Path(built.location) / "js" / address.removeprefix("./")).is_file()


def test_no_module_is_left_behind(built: BuiltStaticFiles) -> None:
    """A module that imports in another way than the pattern knows would be served for ever."""
    for source in (ROOT / "static" / "js").glob("*.js"):
        wanted = set(re.findall(r"['\"]\./([\w-]+\.js)['\"]", source.read_text()))
        written = {
            re.sub(FINGERPRINT, ".js", one)[2:] for one in imports(built, f"js/{source.name}")
        }
        assert wanted == written, source.name


def test_a_new_module_changes_the_name_of_who_imports_it(
    built: BuiltStaticFiles, tmp_path: Path
) -> None:
    before = built.stored_name("js/live.js")
    tree = tmp_path / "js" / "tree.js"
    tree.write_text(tree.read_text() + "\n// changed\n")
    names = {f"js/{path.name}" for path in (ROOT / "static" / "js").glob("*.js")}
    list(built.post_process({name: (built, name) for name in names}))
    assert built.stored_name("js/live.js") != before


def test_browsers_may_keep_them_for_ever(built: BuiltStaticFiles, tmp_path: Path) -> None:
    name = imports(built, "js/live.js")[0].removeprefix("./")
    storages = {**settings.STORAGES, "staticfiles": {"BACKEND": "config.storage.BuiltStaticFiles"}}
    with override_settings(STATIC_ROOT=tmp_path, STORAGES=storages, WHITENOISE_USE_FINDERS=False):
        answer = Client().get(f"/static/js/{name}")
    assert answer.status_code == 200
    assert "immutable" in answer.headers["Cache-Control"]
