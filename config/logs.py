"""Logging: structured lines on the terminal, without secrets."""

import re
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"

# Names whose value is never written, wherever they stand in a log record.
SECRET_NAMES = re.compile(
    r"(?i)(api[_-]?key|authorization|cookie|passw|secret|(?:^|[_-])token$|credential|dsn)"
)

# Values that are secret wherever they stand: bearer tokens, provider keys (OpenAI and Anthropic
# style `sk-`, GitHub, AWS), the password part of an address,
# and links that are good for one use.
SECRET_VALUES = re.compile(
    r"(?i)(?P<lead>bearer\s+)[a-z0-9._~+/=-]{8,}"
    r"|\b(?:sk|pk|rk)-[a-z0-9_-]{8,}"
    r"|\bgh[pousr]_[a-z0-9]{20,}"
    r"|\bAKIA[0-9A-Z]{16}\b"
    r"|(?P<link>/(?:welcome|invitation)/)[^\s'\"]+"
    r"|(?P<scheme>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)"
)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that hides secrets by the name and by the look of a value."""
    return {
        key: HIDDEN if SECRET_NAMES.search(str(key)) else clean(value)
        for key, value in event.items()
    }


def clean(value: Any) -> Any:
    """The same value with every secret in it hidden; containers are copied, not changed."""
    if isinstance(value, str):
        return SECRET_VALUES.sub(_hide, value)
    if isinstance(value, dict):
        return {
            key: HIDDEN if SECRET_NAMES.search(str(key)) else clean(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return type(value)(clean(item) for item in value)
    return value


def _hide(match: re.Match[str]) -> str:
    return (match["lead"] or match["link"] or match["scheme"] or "") + HIDDEN


def configure(*, level: str, style: str) -> dict[str, Any]:
    """Set structlog up and return Django's LOGGING; `style` is `console` or `json`."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.UnicodeDecoder(),
    ]
    if style == "json":
        last: list[Processor] = [
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(),
        ]
    else:
        # Tracebacks are rendered before redaction, so that a secret in one is hidden as well.
        last = [
            structlog.processors.format_exc_info,
            redact,
            structlog.dev.ConsoleRenderer(colors=False),
        ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"terminal": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"handlers": ["terminal"], "level": level},
        "loggers": {
            # These say something for each task, request or socket; ours say what matters.
            "django-q": {"level": "WARNING", "handlers": ["terminal"], "propagate": False},
            "django.channels": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "axes": {"level": "WARNING"},
            "asyncio": {"level": "WARNING"},
            "httpx2": {"level": "WARNING"},
            "openai": {"level": "WARNING"},
            "numba": {"level": "WARNING"},
            "faiss": {"level": "WARNING"},
        },
    }
