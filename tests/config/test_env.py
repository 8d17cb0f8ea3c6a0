"""Environment readers: what they accept, and what they say when they refuse."""

import base64
import multiprocessing
import os
import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from config import env

NAME = "OPENCLIO_TEST_VALUE"


@pytest.fixture
def given(monkeypatch):
    """Set the variable under test."""
    return lambda value: monkeypatch.setenv(NAME, value)


@pytest.mark.parametrize(
    ("value", "expected"), [("1", True), ("Yes", True), ("off", False), ("FALSE", False)]
)
def test_flag_reads_common_words(given, value, expected):
    given(value)
    assert env.flag(NAME, default=not expected) is expected


@pytest.mark.parametrize("value", ["", "   "])
def test_empty_counts_as_absent(given, value):
    given(value)
    assert env.flag(NAME, default=True) is True
    assert env.integer(NAME, 7, low=0, high=9) == 7
    assert env.text(NAME, "x") == "x"
    assert env.words(NAME, ["a"]) == ["a"]


@pytest.mark.parametrize("value", ["maybe", "2", "tru"])
def test_flag_refuses_other_words_by_name(given, value):
    given(value)
    with pytest.raises(ImproperlyConfigured, match=f"{NAME} is '{value}'"):
        env.flag(NAME, default=False)


@pytest.mark.parametrize("value", ["0", "65536", "80a", "1.5", "-1"])
def test_integer_refuses_what_is_out_of_range_or_no_number(given, value):
    given(value)
    with pytest.raises(ImproperlyConfigured, match="from 1 to 65535"):
        env.integer(NAME, 8000, low=1, high=65535)


def test_integer_allows_both_ends(given):
    for value in (1, 65535):
        given(str(value))
        assert env.integer(NAME, 8000, low=1, high=65535) == value


def test_choice_ignores_case_and_lists_what_is_allowed(given):
    given("debug")
    assert env.choice(NAME, "INFO", ["DEBUG", "INFO"]) == "DEBUG"
    given("loud")
    with pytest.raises(ImproperlyConfigured, match="debug, info"):
        env.choice(NAME, "INFO", ["DEBUG", "INFO"])


def test_words_drop_empty_entries(given):
    given("a.example, ,b.example,")
    assert env.words(NAME) == ["a.example", "b.example"]


def test_directory_refuses_a_file(given, tmp_path):
    file = tmp_path / "data"
    file.write_text("x")
    given(str(file))
    with pytest.raises(ImproperlyConfigured, match="is a file"):
        env.directory(NAME, tmp_path)


def test_address_never_repeats_a_password(given):
    given("http://user:hunter2@cache:6379/0")
    with pytest.raises(ImproperlyConfigured) as error:
        env.address(NAME, ["redis", "rediss"])
    assert "redis://" in str(error.value)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("value", ["clio.example.org", "https://clio.example.org/path", "ftp://x"])
def test_origins_need_scheme_and_host_only(given, value):
    given(value)
    with pytest.raises(ImproperlyConfigured, match="scheme and host"):
        env.origins(NAME)


def test_database_defaults_to_sqlite_with_immediate_transactions(monkeypatch, tmp_path):
    monkeypatch.delenv(NAME, raising=False)
    found = env.database(NAME, default_file=tmp_path / "db.sqlite3")
    assert found["NAME"] == str(tmp_path / "db.sqlite3")
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert found["OPTIONS"]["timeout"] == 20
    assert "journal_mode=WAL" in found["OPTIONS"]["init_command"]
    assert "synchronous=FULL" in found["OPTIONS"]["init_command"]


def test_database_reads_a_postgres_address(given, tmp_path):
    given("postgres://cl%40io:p%2Fw@db.example:6432/open%20clio?sslmode=require")
    found = env.database(NAME, default_file=tmp_path, keep_seconds=60)
    assert (found["USER"], found["PASSWORD"]) == ("cl@io", "p/w")
    assert (found["HOST"], found["PORT"], found["NAME"]) == ("db.example", "6432", "open clio")
    assert found["OPTIONS"]["sslmode"] == "require"
    assert "lock_timeout=5s" in found["OPTIONS"]["options"]
    assert found["CONN_MAX_AGE"] == 60


def test_database_lets_the_address_overrule_server_settings(given, tmp_path):
    given("postgresql://u@h/n?options=-c%20lock_timeout%3D1s")
    options = env.database(NAME, default_file=tmp_path)["OPTIONS"]["options"]
    assert options.rindex("lock_timeout=1s") > options.rindex("lock_timeout=5s")


def test_database_reads_a_socket_directory(given, tmp_path):
    given("postgres://u@/n?host=/run/Postgres")
    assert env.database(NAME, default_file=tmp_path)["HOST"] == "/run/Postgres"


@pytest.mark.parametrize(
    ("url", "expected"),
    [("sqlite:////srv/clio/db.sqlite3", "/srv/clio/db.sqlite3"), ("sqlite:///db", None)],
)
def test_database_reads_sqlite_paths(given, tmp_path, monkeypatch, url, expected):
    monkeypatch.chdir(tmp_path)
    given(url)
    found = env.database(NAME, default_file=tmp_path / "other")["NAME"]
    assert found == (expected or str(tmp_path / "db"))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:p@h/n", "begins with 'mysql'"),
        ("postgres://u:hunter2@h", "names no database"),
        ("postgres://u:hunter2@h:abc/n", "port that is not a number"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("just words", "expected postgres://"),
    ],
)
def test_database_refuses_with_a_reason_and_without_the_password(given, tmp_path, url, message):
    given(url)
    with pytest.raises(ImproperlyConfigured, match=message) as error:
        env.database(NAME, default_file=tmp_path / "db")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "value", ["changeme", "x" * 31, "django-insecure-" + "a" * 60, "CHANGE-ME" + "z" * 40]
)
def test_secret_key_refuses_placeholders_without_repeating_them(given, tmp_path, value):
    given(value)
    with pytest.raises(ImproperlyConfigured, match="placeholder or shorter") as error:
        env.secret_key(NAME, tmp_path / "key")
    assert value not in str(error.value)
    assert not (tmp_path / "key").exists()


def test_secret_key_is_made_once_and_private(monkeypatch, tmp_path):
    monkeypatch.delenv(NAME, raising=False)
    file = tmp_path / "secrets" / "key"
    first = env.secret_key(NAME, file)
    assert env.secret_key(NAME, file) == first
    assert len(first) >= 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]


def test_processes_that_start_at_once_read_the_same_key(tmp_path):
    """Real processes, all held at a barrier, so that they make the file at the same moment."""
    file = tmp_path / "key"
    context = multiprocessing.get_context("fork")
    barrier, found = context.Barrier(6), context.Queue()

    def start():
        barrier.wait()
        found.put(env._kept(file, lambda: str(os.getpid()) * 20))

    processes = [context.Process(target=start) for _ in range(6)]
    for process in processes:
        process.start()
    keys = {found.get(timeout=10) for _ in processes}
    for process in processes:
        process.join(10)
    assert keys == {file.read_text()}
    assert list(tmp_path.iterdir()) == [file]


def test_an_empty_key_file_is_refused_rather_than_replaced(monkeypatch, tmp_path):
    monkeypatch.delenv(NAME, raising=False)
    (tmp_path / "key").write_text("\n")
    with pytest.raises(ImproperlyConfigured, match="Restore it from a backup"):
        env.secret_key(NAME, tmp_path / "key")


def test_key_ring_takes_several_and_names_the_bad_one(given, tmp_path):
    good = base64.urlsafe_b64encode(bytes(32)).decode()
    given(f"{good}, {good}")
    assert env.key_ring(NAME, tmp_path / "ring") == [good, good]
    given(f"{good},short")
    with pytest.raises(ImproperlyConfigured, match="key 2 is not 32 bytes"):
        env.key_ring(NAME, tmp_path / "ring")


def test_signing_and_encryption_never_share_a_key():
    one, other = (base64.urlsafe_b64encode(bytes([n]) * 32).decode() for n in range(2))
    env.keep_apart(one, [other])
    with pytest.raises(ImproperlyConfigured, match="needs a key of its own"):
        env.keep_apart(one, [other, one])


def test_key_ring_is_made_once(monkeypatch, tmp_path):
    monkeypatch.delenv(NAME, raising=False)
    first = env.key_ring(NAME, tmp_path / "ring")
    assert len(base64.urlsafe_b64decode(first[0])) == 32
    assert env.key_ring(NAME, tmp_path / "ring") == first


def test_file_of_variables(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# note\n\nexport PORT=9000\nNAME='a b'\nURL=\"x=y\"\nEMPTY=\n")
    into = {"PORT": "1"}
    env.load_file(file, into)
    assert into == {"PORT": "1", "NAME": "a b", "URL": "x=y", "EMPTY": ""}


def test_file_of_variables_names_the_bad_line(tmp_path):
    file = tmp_path / ".env"
    file.write_text("A=1\nnot an assignment\n")
    with pytest.raises(ImproperlyConfigured, match=r"\.env, line 2"):
        env.load_file(file, {})
    env.load_file(Path(tmp_path / "absent"), {})
