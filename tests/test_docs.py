"""What the documents promise is so: settings, options, requirements, links, targets, addresses."""

from __future__ import annotations

import re
from argparse import Action
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

from config.api import api

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
IMAGE_BYTES = 200_000


def section(page: Path, title: str) -> str:
    """The text under a heading, up to the next heading of its rank or above."""
    found = re.search(
        rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,2}} |\Z)", page.read_text(), re.M | re.S
    )
    assert found, f"{page.name} has no section {title}"
    return found[2]


def rows(text: str) -> Iterator[list[str]]:
    """The cells of every table row, heads and rules left out."""
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|- "):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def in_first_column(text: str) -> set[str]:
    """What stands between backquotes in the first cells."""
    return {name for cells in rows(text) for name in re.findall(r"`([^`]+)`", cells[0])}


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"`", "", title).lower())
    return kept.strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ (.+)$", prose(page), re.M)}


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)


def test_operator_guide_lists_exactly_the_variables_settings_read() -> None:
    settings, readers = ((ROOT / f"config/{name}.py").read_text() for name in ("settings", "env"))
    read = set(re.findall(r"\benv\.\w+\(\s*\"([A-Z][A-Z0-9_]*)\"", settings))
    read |= set(re.findall(r"\benviron(?:\.get\(|\[)\s*\"([A-Z]\w*)\"", settings + readers))
    assert {"OPENCLIO_DATA_DIR", "NUMBA_CACHE_DIR"} <= read
    listed = in_first_column(section(DOCS / "operator-guide.md", "Settings"))
    assert listed == read


def test_example_file_names_only_known_variables() -> None:
    named = set(re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / "env.example").read_text(), re.M))
    assert named
    assert named <= in_first_column(section(DOCS / "operator-guide.md", "Settings"))


def options_of(command: str) -> set[str]:
    """Long options that the command itself adds, without Django's."""
    loaded = load_command_class(get_commands()[command], command)
    parser = loaded.create_parser("manage.py", command)
    plain = load_command_class("django.core", "migrate").create_parser("manage.py", "migrate")
    known = {name for action in plain._actions for name in action.option_strings}
    actions: list[Action] = parser._actions
    found = {name for action in actions for name in action.option_strings}
    return {name for name in found - known if name.startswith("--")}


def test_user_guide_lists_exactly_the_options_of_analyze() -> None:
    text = section(DOCS / "user-guide.md", "On the command line")
    listed = {name.split()[0] for name in in_first_column(text) if name.startswith("--")}
    assert listed == options_of("analyze")


def test_user_guide_lists_exactly_the_options_of_analysis() -> None:
    text = section(DOCS / "user-guide.md", "Analyses of the portal")
    assert set(re.findall(r"`(--[a-z-]+)", text)) == options_of("analysis")


def test_user_guide_lists_exactly_the_files_that_analyze_writes() -> None:
    source = (ROOT / "analyses/report_file.py").read_text()
    written = set(re.findall(r"_put\(folder / \"([^\"]+)\"", source))
    assert "report.html" in written
    listed = in_first_column(section(DOCS / "user-guide.md", "Files it writes"))
    assert {name for name in listed if "." in name} == written


def test_operator_guide_names_the_options_of_serve() -> None:
    text = (DOCS / "operator-guide.md").read_text()
    missing = {name for name in options_of("serve") if f"`{name}`" not in text}
    assert not missing


def requirements() -> Iterator[str]:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            found = re.match(r"[A-Za-z][\w.-]*", line)
            if found:
                yield found[0]


def test_every_requirement_has_a_line_and_every_line_a_requirement() -> None:
    page = DOCS / "decisions/0001-dependencies.md"
    listed = [
        cells[0]
        for title in ("At run time", "For development")
        for cells in rows(section(page, title))
        if cells[0] != "Package"
    ]
    assert sorted(listed) == sorted(requirements())


def test_every_requirement_has_a_reason_and_a_licence() -> None:
    page = DOCS / "decisions/0001-dependencies.md"
    for title in ("At run time", "In the pages", "For development"):
        for cells in rows(section(page, title)):
            assert len(cells) == 3, cells
            assert all(cells), cells


def test_requirements_are_pinned() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r ")):
                assert re.fullmatch(r"[\w.-]+(\[[\w,-]+\])?==[\w.]+", line), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_and_anchors_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


def test_pictures_are_small_and_shown() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    pictures = [path for path in (DOCS / "images").iterdir() if path.is_file()]
    assert pictures
    for picture in pictures:
        assert picture.stat().st_size < IMAGE_BYTES, picture.name
        assert f"images/{picture.name})" in shown, picture.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", page.read_text(), re.M)
    assert set(named) <= targets
    if page.name == "README.md":
        assert named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_and_commands_exist(page: Path) -> None:
    apps = "config|core|accounts|providers|projects|templates_app|analyses|tests|bench|static"
    for name in re.findall(rf"`((?:{apps})/[\w./-]+)(?::[^`]*)?`", page.read_text()):
        assert (ROOT / name).exists(), f"{page.name} names {name}"
    for command in re.findall(r"manage\.py ([a-z][a-z_]*)", page.read_text()):
        assert command in get_commands(), f"{page.name} names {command}"
    for module in re.findall(r"python -m (bench\.\w+)", page.read_text()):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), module


def test_api_page_lists_exactly_the_addresses() -> None:
    text = section(DOCS / "api.md", "Addresses")
    listed = {(cells[0], cells[1].strip("`")) for cells in rows(text) if cells[0] != "Method"}
    served = {
        (method.upper(), path.removeprefix("/api/v1"))
        for path, methods in api.get_openapi_schema()["paths"].items()
        for method in methods
    }
    assert listed == served


def test_decisions_are_numbered_without_gaps() -> None:
    names = sorted(path.name for path in (DOCS / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
