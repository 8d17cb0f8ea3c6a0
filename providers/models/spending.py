"""Limits of spending and use, and the running sums they are held against."""

from __future__ import annotations

from django.db import models
from typing_extensions import override

from accounts.models import User, Workspace


class Period(models.TextChoices):
    """Over what time a spending limit counts, in UTC."""

    ALL = "all", "in all"
    DAY = "day", "a day"
    MONTH = "month", "a month"


class SpendLimit(models.Model):
    """The most that may be spent in a scope, in US dollars.

    ``scope`` is ``analysis:<id>``, ``project:<id>`` or ``workspace:<id>``: a plain name, since
    the first two stand above providers.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="limits")
    scope = models.CharField(max_length=40)
    period = models.CharField(max_length=5, choices=Period.choices, default=Period.ALL)
    amount = models.DecimalField(max_digits=14, decimal_places=6)
    warned_for = models.CharField(
        max_length=10, blank=True, help_text="Period for which the 80 % warning was given."
    )
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope", "period"]
        constraints = [
            models.UniqueConstraint(fields=["scope", "period"], name="providers_limit_once"),
            models.CheckConstraint(
                condition=models.Q(amount__gte=0), name="providers_limit_not_negative"
            ),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.amount} {self.get_period_display()} for {self.scope}"


class SpendBook(models.Model):
    """Running sums of a scope in one period, kept in the journal's own transactions.

    ``spent`` is settled, ``doubt`` the estimate of sends that were cut off, ``reserved`` the most
    that calls now out can cost; all US dollars. ``key`` is ``all``, ``2026-11`` or ``2026-11-20``.
    """

    scope = models.CharField(max_length=40)
    key = models.CharField(max_length=10)
    spent = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    doubt = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    reserved = models.DecimalField(max_digits=18, decimal_places=8, default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["scope", "key"], name="providers_book_once"),
        ]

    @override
    def __str__(self) -> str:
        return f"{self.scope} {self.key}"


class UseLimit(models.Model):
    """The most calls a minute and tokens a day (UTC) of somebody; ``None`` is no limit.

    ``scope`` is ``user:<id>``, ``key:<id>`` or ``project:<id>``, a plain name like that of
    :class:`SpendLimit`.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="use_limits")
    scope = models.CharField(max_length=40)
    requests_per_minute = models.PositiveIntegerField(null=True, blank=True)
    tokens_per_day = models.PositiveBigIntegerField(null=True, blank=True)
    warned_for = models.CharField(
        max_length=10, blank=True, help_text="Day for which the 80 % warning was given."
    )
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["scope"]
        constraints = [
            models.UniqueConstraint(fields=["workspace", "scope"], name="providers_use_limit_once")
        ]

    @override
    def __str__(self) -> str:
        return f"Use of {self.scope}"


class UseBook(models.Model):
    """What a scope used in one window: ``window`` is ``2026-11-20T10:31`` or ``2026-11-20``.

    ``reserved`` are the most tokens that calls now out can take.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="use_books")
    scope = models.CharField(max_length=40)
    window = models.CharField(max_length=16)
    requests = models.PositiveBigIntegerField(default=0)
    tokens = models.PositiveBigIntegerField(default=0)
    reserved = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["workspace", "scope", "window"], name="providers_use_book_once"
            )
        ]

    @override
    def __str__(self) -> str:
        return f"{self.scope} {self.window}"
