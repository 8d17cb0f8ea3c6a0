"""All settings, from the environment (https://12factor.net/config). None is needed to begin.

Everything that the program writes goes below OPENCLIO_DATA_DIR. The readers are in `config.env`
and refuse bad values; what each variable means for an operator is in `docs/operator-guide.md`.
"""

import atexit
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF

from config import env, logs

BASE_DIR = Path(__file__).resolve().parent.parent

# The test runner gets a directory of its own, so that no test can touch real data.
TESTING = "pytest" in sys.modules
if not TESTING:
    env.load_file(BASE_DIR / ".env")

# --- Where things are kept ---------------------------------------------------------------------

DATA_DIR = env.directory("OPENCLIO_DATA_DIR", BASE_DIR / "var")
if TESTING:
    DATA_DIR = Path(tempfile.mkdtemp(prefix="openclio-tests-"))
    atexit.register(shutil.rmtree, DATA_DIR, ignore_errors=True)
SECRETS_DIR = DATA_DIR / "secrets"
MEDIA_ROOT = DATA_DIR / "media"
ARTIFACTS_ROOT = DATA_DIR / "artifacts"
STATIC_ROOT = DATA_DIR / "static"
STATIC_ROOT.mkdir(parents=True, exist_ok=True)
RUN_DIR = DATA_DIR / "run"
# Free room, in MB, below which no new work begins; `core.disks` knows what it is when absent.
DISK_RESERVE_MB = env.optional_integer("OPENCLIO_DISK_RESERVE_MB", low=0, high=100_000_000)
# Room in MB that a workspace's stored answers may take; 0 for as much as they need.
ANSWERS_MB = env.optional_integer("OPENCLIO_ANSWERS_MB", low=0, high=100_000_000) or 0
# Compiled map code, beside the packages it was compiled from like Python's own byte code, so that
# every data directory of an installation shares it. numba reads the name when first imported.
NUMBA_CACHE_DIR = env.compiled_code(DATA_DIR / "numba")
os.environ.setdefault("NUMBA_CACHE_DIR", str(NUMBA_CACHE_DIR))

# --- Security ----------------------------------------------------------------------------------

SECRET_KEY = env.secret_key("SECRET_KEY", SECRETS_DIR / "secret-key")
ENCRYPTION_KEYS = env.key_ring("OPENCLIO_ENCRYPTION_KEYS", SECRETS_DIR / "encryption-keys")
env.keep_apart(SECRET_KEY, ENCRYPTION_KEYS)
DEBUG = env.flag("DEBUG", default=False)
HTTPS = env.flag("HTTPS", default=False)
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", ["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.origins("CSRF_TRUSTED_ORIGINS")
TRUSTED_PROXIES = env.integer("TRUSTED_PROXIES", 0, low=0, high=9)
PORT = env.integer("PORT", 8000, low=1, high=65535)

# Whether owners may add providers on this machine and in private networks (Ollama, vLLM). A server
# on the open internet has other things there that must not be reached through us.
ALLOW_PRIVATE_PROVIDERS = env.flag("OPENCLIO_ALLOW_PRIVATE_PROVIDERS", default=not HTTPS)
# The same for model servers on this very machine, at their usual ports alone. On where the portal
# answers this machine alone, so that whoever could use it could call those servers anyway.
LOCAL_MODELS = env.flag(
    "OPENCLIO_LOCAL_MODELS", default={*ALLOWED_HOSTS} <= {"127.0.0.1", "localhost", "[::1]"}
)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False
# Health checks come from inside, over plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^live$", r"^ready$"]
# Only believed where the operator says that a proxy stands in front and sets it.
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # Other hosts of the same domain are not ours to force onto HTTPS.
    "security.W021",  # Preloading is a promise that only the owner of the domain can make.
]

# The pages load nothing from elsewhere and run no script of their own inside HTML. Widths of bars
# are style attributes, which cannot load anything by themselves because images are ours too.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        "style-src": [SELF],
        "style-src-attr": ["'unsafe-inline'"],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

# --- Applications ------------------------------------------------------------------------------

INSTALLED_APPS = [
    "daphne",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "django_q",
    "django_htmx",
    "axes",
    "csp",
    "django_structlog",
    # For the pages of the API's documentation, which otherwise come from another host.
    "ninja",
    "core",
    "accounts",
    "providers",
    "projects",
    "templates_app",
    "analyses",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "core.middleware.PagePolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    # Last, so that it sees every failed sign-in.
    "core.errors.AppErrorMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "config.context.shell",
            ],
        },
    }
]

# --- Database, cache, live pages ---------------------------------------------------------------

# Under ASGI each request has a thread of its own, so a connection kept there would leak; the
# supervisor asks for kept connections in worker processes only.
DATABASES = {
    "default": env.database(
        "DATABASE_URL",
        default_file=DATA_DIR / "db.sqlite3",
        keep_seconds=env.integer("DATABASE_KEEP_SECONDS", 0, low=0, high=3600),
    )
}
SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

REDIS_URL = env.address("REDIS_URL", ["redis", "rediss", "unix"])
if REDIS_URL:
    CHANNEL_LAYERS: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": "openclio", "capacity": 1000},
        }
    }
    CACHES: dict[str, dict[str, Any]] = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "openclio",
        }
    }
else:
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels.layers.InMemoryChannelLayer",
            "CONFIG": {"capacity": 1000},
        }
    }
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- Background work ---------------------------------------------------------------------------

WORKERS = env.integer("WORKERS", 2, low=1, high=64)
# Longest time one task may take. A task holds a worker for a slice of work, never for an analysis.
TASK_SECONDS = 240
Q_CLUSTER = {
    "name": "openclio",
    "label": "Wake-ups",
    "orm": "default",
    "broker_class": "core.q2.Broker",
    "workers": WORKERS,
    # A task's lock starts when it is fetched, not when it starts. So: fetch no more than there are
    # workers, and hand out again only after everything fetched must have ended.
    "queue_limit": WORKERS,
    "bulk": 1,
    "timeout": TASK_SECONDS,
    "retry": (WORKERS + 2) * TASK_SECONDS + 60,
    "max_attempts": 1,
    "ack_failures": True,
    "poll": 0.2,
    "save_limit": -1,
    "catch_up": False,
    "scheduler": False,
    "recycle": 500,
}
# What `manage.py serve` calls every two seconds, what `manage.py setup` and `manage.py warm` call,
# and what a pool imports before it forks. Dotted paths, because core imports no other app.
SUPERVISOR_TICKS: list[str] = [
    "core.disks.tick",
    "providers.services.tick",
    "providers.services.bulk.wake_collector",
    "providers.services.answers.keep_within_bounds",
    "providers.services.health_upkeep.tick",
    "projects.services.tick",
    "analyses.services.tick",
    "core.events.tick",
]

# Who names the projects that spending is counted by: providers imports no app above it.
SPENDING_PROJECTS = "projects.selectors.spending.spending_projects"
# Who counts an analysis anew after calls of it were priced.
SPENDING_RECOUNT = "analyses.services.spending.recount"
SETUP_STEPS: list[str] = [
    "templates_app.services.ensure_shipped",
    "projects.runner.ensure_sample",
    "analyses.services.ensure_sample_session",
]
# Called with the first owner once the link was used; returns where to go, or nothing.
AFTER_FIRST_OWNER = "analyses.services.welcome"
FIRST_OWNER_LINK = "accounts.services.first_owner_link"
WARM_STEPS: list[str] = ["analyses.pipeline.map.warm"]
POOL_PRELOAD: list[str] = ["projects.tasks", "analyses.tasks"]

# --- People ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 10},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "/sign-in/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/sign-in/"

# Six failed sign-ins for one name from one address close that pair for fifteen minutes.
# Axes takes the model's field name here, but Django's sign-in form always says "username". Without
# this line failures are counted for nobody and the right password opens a closed door.
AXES_USERNAME_FORM_FIELD = "username"
AXES_FAILURE_LIMIT = 6
AXES_COOLOFF_TIME = 0.25
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_HTTP_RESPONSE_CODE = 429
AXES_LOCKOUT_TEMPLATE = "errors/429.html"
AXES_IPWARE_PROXY_COUNT = TRUSTED_PROXIES or None
AXES_VERBOSE = False

# --- Pages and files ---------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_URL = "/media/"
# `setup` collects and fingerprints the static files; until then, and while developing, whitenoise
# finds them where they lie.
COLLECTING = sys.argv[1:2] == ["collectstatic"]
STATIC_BUILT = COLLECTING or (not DEBUG and (STATIC_ROOT / "staticfiles.json").is_file())
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "artifacts": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": ARTIFACTS_ROOT, "base_url": None},
    },
    "staticfiles": {
        "BACKEND": (
            "config.storage.BuiltStaticFiles"
            if STATIC_BUILT
            else "django.contrib.staticfiles.storage.StaticFilesStorage"
        )
    },
}
WHITENOISE_USE_FINDERS = not STATIC_BUILT
WHITENOISE_AUTOREFRESH = DEBUG
# Uploads above this go to a file at once; the project's own limits are in `projects`.
FILE_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000_000
FILE_UPLOAD_PERMISSIONS = 0o600

UNFOLD = {"SITE_TITLE": "OpenClio", "SITE_HEADER": "OpenClio for operators", "SITE_URL": "/"}

# --- Logging -----------------------------------------------------------------------------------

LOGGING = logs.configure(
    level=env.choice("LOG_LEVEL", "INFO", ["DEBUG", "INFO", "WARNING", "ERROR"]),
    style=env.choice("LOG_STYLE", "console", ["console", "json"]),
)
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_2XX_LOG_LEVEL = logging.DEBUG
DJANGO_STRUCTLOG_STATUS_DEFAULT_LOG_LEVEL = logging.DEBUG

# --- Tests -------------------------------------------------------------------------------------

if TESTING:
    # A test says how full the disk is; the machine that runs it does not.
    DISK_RESERVE_MB = 0
    # Speed only: a fast hash, and no waiting for the disk. Everything else is as in production.
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if SQLITE:
        # A file, because an in-memory database is not shared by the threads of an async test.
        DATABASES["default"]["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}
        DATABASES["default"]["OPTIONS"]["init_command"] = (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"
        )
