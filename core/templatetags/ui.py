"""The small parts every page is made of: icons, state pills, form fields, links that keep filters."""

from __future__ import annotations

from typing import Any

from django import template
from django.forms import BoundField
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

DOT = SafeString('<span class="dot"></span>')

# State word -> (tone, icon). The icon "dot" is the pulsing dot that only running work has.
STATES: dict[str, tuple[str, str]] = {
    "draft": ("line", "pencil"),
    "queued": ("", "clock"),
    "pending": ("", "clock"),
    "running": ("run", "dot"),
    "leased": ("run", "dot"),
    "importing": ("run", "dot"),
    "pausing": ("warn", "player-pause"),
    "paused": ("warn", "player-pause"),
    "blocked": ("bad", "hand-stop"),
    "cancelling": ("", "square"),
    "cancelled": ("", "square"),
    "completed": ("ok", "check"),
    "completed_partial": ("warn", "alert-triangle"),
    "done": ("ok", "check"),
    "ready": ("ok", "check"),
    "failed": ("bad", "alert-circle"),
    "quarantined": ("bad", "alert-circle"),
    "healthy": ("ok", "check"),
    "slow": ("warn", "alert-triangle"),
    "resting": ("warn", "clock-pause"),
    "down": ("bad", "plug-connected-x"),
    "off": ("", "circle-off"),
    "untested": ("line", "help-circle"),
}


@register.simple_tag
def icon(name: str, classes: str = "", label: str = "") -> SafeString:
    """An icon of the sprite; silent for screen readers unless it has a ``label``."""
    href = f"{static('icons/sprite.svg')}#{name}"
    if label:
        return format_html(
            '<svg class="ic {}" role="img" aria-label="{}"><use href="{}"></use></svg>',
            classes,
            label,
            href,
        )
    return format_html(
        '<svg class="ic {}" aria-hidden="true"><use href="{}"></use></svg>', classes, href
    )


@register.simple_tag
def pill(state: str, text: str = "") -> SafeString:
    """A state in shape, colour and word; ``text`` defaults to the state's own name."""
    tone, sign = STATES.get(state, ("", "circle-dotted"))
    mark = DOT if sign == "dot" else icon(sign)
    word = text or state.replace("_", " ").capitalize()
    return format_html('<span class="pill {}">{}{}</span>', tone, mark, word)


@register.inclusion_tag("components/field.html")
def field(bound: BoundField, icon: str = "") -> dict[str, Any]:
    """A form field: label above, hint below, error beside it in words."""
    return {"field": bound, "widget": bound.field.widget.__class__.__name__, "icon": icon}


@register.simple_tag(takes_context=True)
def query(context: dict[str, Any], **changes: Any) -> str:
    """The page's query string with some values changed; an empty value removes its key."""
    params = context["request"].GET.copy()
    for key, value in changes.items():
        if value in (None, ""):
            params.pop(key, None)
        else:
            params[key] = str(value)
    return f"?{params.urlencode()}" if params else "?"


@register.filter
def at(mapping: dict[Any, Any], key: Any) -> Any:
    """The value under ``key``, nothing when it is absent."""
    return mapping.get(key, "")
