"""Settings as a program of its own sees them: what stops it, and what it writes where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOW = "from django.conf import settings as s; import django; django.setup(); print({})"


def run(directory, expression="s.DEBUG", **environment):
    """Read one expression of the settings in a new process; its result and output."""
    kept = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
    return subprocess.run(
        [sys.executable, "-c", SHOW.format(expression)],
        env={
            **kept,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "PYTHONPATH": str(ROOT),
            "OPENCLIO_DATA_DIR": str(directory),
            **environment,
        },
        cwd=directory.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_nothing_is_needed_and_nothing_is_written_elsewhere(tmp_path):
    data = tmp_path / "data"
    done = run(data, "(s.DEBUG, s.DATABASES['default']['NAME'], s.MEDIA_ROOT, s.ARTIFACTS_ROOT)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(False, ")
    assert done.stdout.count(str(data)) == 3
    assert {path.name for path in data.iterdir()} == {"secrets", "static"}
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("DEBUG", "perhaps", "DEBUG is 'perhaps'"),
        ("PORT", "99999", "PORT is '99999'"),
        ("WORKERS", "0", "WORKERS is '0'"),
        ("SECRET_KEY", "changeme", "SECRET_KEY is a placeholder"),
        ("DATABASE_URL", "mysql://h/n", "DATABASE_URL begins with 'mysql'"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is not an address"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL is 'loud'"),
        ("OPENCLIO_ENCRYPTION_KEYS", "abc", "key 1 is not 32 bytes"),
    ],
)
def test_a_bad_value_stops_the_command_line_with_one_sentence(tmp_path, name, value, message):
    done = subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "check"],
        env={"PATH": os.environ["PATH"], "OPENCLIO_DATA_DIR": str(tmp_path / "data"), name: value},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Configuration: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_https_makes_cookies_secure(tmp_path):
    expression = "(s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SECURE_HSTS_SECONDS > 0)"
    assert run(tmp_path / "a", expression).stdout.strip() == "(False, False, False)"
    assert run(tmp_path / "b", expression, HTTPS="1").stdout.strip() == "(True, True, True)"


def test_forwarded_headers_are_believed_only_behind_a_declared_proxy(tmp_path):
    expression = "s.SECURE_PROXY_SSL_HEADER"
    assert run(tmp_path / "a", expression).stdout.strip() == "None"
    assert "FORWARDED" in run(tmp_path / "b", expression, TRUSTED_PROXIES="1").stdout


def test_redis_carries_live_news_when_it_is_there(tmp_path):
    expression = "s.CHANNEL_LAYERS['default']['BACKEND']"
    assert "InMemory" in run(tmp_path / "a", expression).stdout
    assert "channels_redis" in run(tmp_path / "b", expression, REDIS_URL="redis://h/0").stdout


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "True"),
        ({"ALLOWED_HOSTS": "localhost"}, "True"),
        ({"ALLOWED_HOSTS": "localhost,clio.example.org"}, "False"),
        ({"ALLOWED_HOSTS": "*"}, "False"),
        ({"OPENCLIO_LOCAL_MODELS": "0"}, "False"),
        ({"ALLOWED_HOSTS": "clio.example.org", "OPENCLIO_LOCAL_MODELS": "1"}, "True"),
    ],
)
def test_local_models_are_open_while_the_portal_answers_this_machine_alone(
    tmp_path, environment, expected
):
    done = run(tmp_path / "data", "s.LOCAL_MODELS", **environment)
    assert done.stdout.strip() == expected, done.stderr
