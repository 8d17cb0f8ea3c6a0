"""``manage.py reconcile_spending``: what was used and paid, and whether everybody agrees."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from typing_extensions import override

from accounts.models import Workspace
from core.errors import Invalid
from core.figures import count_of, money, thousands
from providers.readers import UsageLine, read_usage
from providers.selectors.reconciling import Report, Sums, against, by_model, report

DAYS = 31


class Command(BaseCommand):
    """Prints the reconciliation report and compares it with a provider's own count."""

    help = (
        "Print calls, tokens and cost by provider and model, and whether the books agree with the "
        "journal. With --against, compare with a usage export of the provider. Ends with an error "
        "when anything differs."
    )

    @override
    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--workspace", help="Its name or number; all of them without it.")
        parser.add_argument("--since", type=date.fromisoformat, help="First day, as 2026-11-01.")
        parser.add_argument("--until", type=date.fromisoformat, help="Last day (UTC).")
        parser.add_argument("--provider", help="Compare this provider's calls alone.")
        parser.add_argument(
            "--against",
            type=Path,
            metavar="FILE.csv",
            help="A usage export with date, model, requests, tokens and cost, told by name.",
        )

    @override
    def handle(self, *args: Any, **options: Any) -> None:
        until = options["until"] or timezone.now().date()
        since = options["since"] or until - timedelta(days=DAYS - 1)
        usage = _usage(options["against"]) if options["against"] else None
        wrong = 0
        for workspace in _workspaces(options["workspace"]):
            found = report(workspace, since, until)
            self.stdout.write(f"{workspace.name}, {since} to {until} (UTC)")
            self._print(found)
            wrong += sum(not check.ok for check in found.checks)
            if usage is not None:
                wrong += self._compare(found, usage, options["provider"])
        if wrong:
            raise CommandError(f"{count_of(wrong, 'difference')} found.")
        self.stdout.write("Everything agrees.")

    def _print(self, found: Report) -> None:
        for (provider, model), sums in by_model(found.lines).items():
            self.stdout.write(f"  {provider} · {model}: {_text(sums)}")
        self.stdout.write(f"  In all: {_text(found.total)}")
        for check in found.checks:
            self.stdout.write(
                f"  {'yes' if check.ok else 'NO '}  {check.name}. {check.text}".rstrip()
            )

    def _compare(self, found: Report, usage: list[UsageLine], provider: str | None) -> int:
        lines = [line for line in found.lines if provider in (None, line.provider)]
        said = [row for row in usage if found.since <= row.day <= found.until]
        differences = against(lines, said)
        for one in differences:
            self.stdout.write(f"  {one.text}")
        return len(differences)


def _text(sums: Sums) -> str:
    parts = [
        count_of(sums.calls, "call"),
        f"{thousands(sums.tokens_in)} tokens in ({thousands(sums.tokens_cached)} cached)",
        f"{thousands(sums.tokens_out)} out ({thousands(sums.tokens_reasoning)} reasoning)",
        f"{money(sums.settled)} settled",
    ]
    if sums.doubts:
        parts.append(f"{money(sums.in_doubt)} in doubt for {count_of(sums.doubts, 'send')}")
    if sums.unpriced:
        parts.append(f"{thousands(sums.unpriced)} unpriced")
    if sums.batched:
        parts.append(f"{thousands(sums.batched)} in batches")
    return ", ".join(parts)


def _workspaces(named: str | None) -> list[Workspace]:
    rows = Workspace.objects.order_by("pk")
    if named is None:
        return list(rows)
    found = list(rows.filter(name=named))
    if not found and named.isdecimal():
        found = list(rows.filter(pk=int(named)))
    if len(found) != 1:
        raise CommandError(f"There is no workspace {named!r}, or more than one.")
    return found


def _usage(path: Path) -> list[UsageLine]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return read_usage(file)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"The file cannot be read: {path.name}.") from error
    except Invalid as error:
        raise CommandError(error.text) from error
