"""The prices of one model: what holds now, from when, and pricing what was called before."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Role
from accounts.selectors import person
from accounts.services import require
from core.errors import Invalid
from core.figures import count_of, money
from core.forms import refuse, status_of
from providers import selectors, services
from providers.forms import PriceForm
from providers.selectors import detail as reads
from providers.selectors.prices import UNPRICED_FOR, dated_prices
from providers.views.detail import shell


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def prices(request: HttpRequest, pk: int, model: int) -> HttpResponse:
    """What a model costs and since when; owners set a price from a day on."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.OWNER if request.method == "POST" else Role.ANALYST)
    one = reads.model_of(row, model)
    form = PriceForm(request.POST or None, embeds=one.embeds)
    if form.is_valid():
        try:
            services.set_price(actor=user, deployment=one, **form.given())
            messages.success(request, "The price is saved.")
            return redirect("providers:prices", pk, model)
        except Invalid as error:
            refuse(form, error)
    dated = dated_prices(one)
    context = shell(request, row, "overview") | {
        "model": one,
        "form": form,
        "dated": dated,
        "now": timezone.now(),
        "price": reads.shown_price(one, dated),
        "unpriced": reads.unpriced_calls(row).get(one.pk, 0),
        "days": UNPRICED_FOR.days,
    }
    return render(request, "providers/prices.html", context, status=status_of(form))


@login_required
@require_POST
def drop_price(request: HttpRequest, pk: int, model: int, price: int) -> HttpResponse:
    """Take a dated price back. Owners only."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.OWNER)
    one = reads.model_of(row, model)
    services.drop_price(actor=user, price=reads.price_row(one, price))
    messages.success(request, "The price is taken back.")
    return redirect("providers:prices", pk, model)


@login_required
@require_POST
def reprice(request: HttpRequest, pk: int, model: int) -> HttpResponse:
    """Price the calls of a year that were answered without a price. Owners only."""
    user = person(request)
    row = selectors.provider(user, pk)
    require(user, row.workspace, Role.OWNER)
    one = reads.model_of(row, model)
    done = services.reprice(actor=user, deployment=one, since=timezone.now() - reads.PRICED_FOR)
    left = f" {count_of(done.left, 'call')} still without a price." if done.left else ""
    text = f"{count_of(done.calls, 'call')} priced, {money(done.cost)} in all.{left}"
    messages.success(request, text)
    return redirect("providers:prices", pk, model)
