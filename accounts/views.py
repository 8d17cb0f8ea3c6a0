"""Signing in and out, the person's own page, and the members of a workspace."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe
from typing_extensions import override

from accounts import selectors, services
from accounts.forms import (
    InviteForm,
    KeyForm,
    PasswordForm,
    ProfileForm,
    RoleForm,
    SignInForm,
    WelcomeForm,
)
from accounts.models import ApiKey, Membership, Role
from accounts.selectors import person
from core.errors import AppError, NotFound
from core.forms import refuse, status_of

BACKEND = "django.contrib.auth.backends.ModelBackend"
THEMES = ("system", "light", "dark")
YEAR = 31_536_000


class SignIn(LoginView):
    """Sign in; ``next`` is followed within this site only (checked by Django)."""

    template_name = "accounts/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True

    @override
    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Says where the first link is while nobody owns the installation."""
        return super().get_context_data(unclaimed=not selectors.has_owner(), **kwargs)


class SignOut(LogoutView):
    """Sign out, by POST only."""

    http_method_names = ["post", "options"]


@never_cache
@sensitive_post_parameters("password")
def welcome(request: HttpRequest, token: str) -> HttpResponse:
    """The first owner's link: choose a name and a password, and be signed in."""
    try:
        services.check_first_owner_link(token)
    except NotFound:
        return _link_gone(request, invited=False)
    form = WelcomeForm(request.POST or None)
    if form.is_valid():
        try:
            user = services.claim_first_owner(token=token, **form.cleaned_data)
        except AppError as error:
            refuse(form, error)
        else:
            login(request, user, backend=BACKEND)
            return redirect(services.begin(user) or "projects:home")
    return render(request, "accounts/welcome.html", {"form": form}, status=status_of(form))


@never_cache
@sensitive_post_parameters("password")
def invitation(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    """An invited person's link: choose a name and a password, and be signed in."""
    try:
        user = services.invited(uid, token)
    except NotFound:
        return _link_gone(request, invited=True)
    form = PasswordForm(request.POST or None)
    if form.is_valid():
        user = services.accept_invitation(uid=uid, token=token, **form.cleaned_data)
        login(request, user, backend=BACKEND)
        return redirect("projects:home")
    context = {"form": form, "email": user.email}
    return render(request, "accounts/invitation.html", context, status=status_of(form))


def _link_gone(request: HttpRequest, *, invited: bool) -> HttpResponse:
    """Says what became of a link and where to get another, the same for wrong and used ones."""
    context = {"invited": invited, "claimed": selectors.has_owner()}
    return render(request, "accounts/link_gone.html", context, status=404)


@login_required
def profile(request: HttpRequest) -> HttpResponse:
    """The person's name, look and keys."""
    user = person(request)
    form = ProfileForm(request.POST or None, initial={"name": user.name})
    if form.is_valid():
        services.update_profile(actor=user, name=form.cleaned_data["name"])
        messages.success(request, "Your name was saved.")
        return redirect("accounts:profile")
    return render(request, "accounts/profile.html", _profile(request, form), status=status_of(form))


@login_required
@require_POST
@never_cache
def create_key(request: HttpRequest) -> HttpResponse:
    """Make a key and show it this once."""
    user = person(request)
    form = KeyForm(request.POST)
    secret = ""
    if form.is_valid():
        _, secret = services.create_api_key(
            actor=user,
            workspace=selectors.current_workspace(user),
            name=form.cleaned_data["key_name"],
            role=Role(form.cleaned_data["role"]),
        )
        form = KeyForm()
    context = _profile(request, ProfileForm(initial={"name": user.name}))
    context.update(key_form=form, secret=secret)
    return render(request, "accounts/profile.html", context, status=status_of(form))


@login_required
@require_POST
def revoke_key(request: HttpRequest, pk: int) -> HttpResponse:
    """Close one of the person's keys."""
    user = person(request)
    key = get_object_or_404(ApiKey, pk=pk, user=user)
    services.revoke_api_key(actor=user, key=key)
    messages.success(request, f"The key {key.name} no longer works.")
    return redirect("accounts:profile")


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Remember light, dark or the system's choice in this browser."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    response = redirect(wanted if safe else "accounts:profile")
    chosen = request.POST.get("theme", "")
    if chosen in THEMES:
        response.set_cookie("theme", chosen, max_age=YEAR, samesite="Lax", secure=False)
    return response


@login_required
@require_safe
def members(request: HttpRequest) -> HttpResponse:
    """Who belongs to the workspace."""
    return _members(request, InviteForm())


@login_required
@require_POST
@never_cache
def add_member(request: HttpRequest) -> HttpResponse:
    """Add a person; a new one's invitation link is shown this once."""
    user = person(request)
    workspace = selectors.current_workspace(user)
    services.require(user, workspace, Role.OWNER)
    form, link = InviteForm(request.POST), ""
    if form.is_valid():
        email, role = form.cleaned_data["email"], Role(form.cleaned_data["role"])
        try:
            _, link = services.invite(actor=user, workspace=workspace, email=email, role=role)
            messages.success(request, f"{email} was added.")
        except AppError as error:
            form.add_error("email", error.text)
    return _members(request, form, link)


@login_required
@require_POST
def change_member(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a member another role, or take them out."""
    user = person(request)
    workspace = selectors.current_workspace(user)
    services.require(user, workspace, Role.OWNER)
    membership = get_object_or_404(Membership, pk=pk, workspace=workspace)
    form = RoleForm(request.POST)
    if "remove" in request.POST:
        services.remove_member(actor=user, membership=membership)
        messages.success(request, f"{membership.user} is no longer a member.")
    elif form.is_valid():
        role = Role(form.cleaned_data["role"])
        services.change_role(actor=user, membership=membership, role=role)
        messages.success(request, f"{membership.user} is now {role.label.lower()}.")
    return redirect("accounts:members")


def _profile(request: HttpRequest, form: ProfileForm) -> dict[str, object]:
    user = person(request)
    return {
        "form": form,
        "key_form": KeyForm(),
        "keys": selectors.api_keys(user),
        "chosen_theme": request.COOKIES.get("theme", "system"),
        "themes": THEMES,
    }


def _members(request: HttpRequest, form: InviteForm, link: str = "") -> HttpResponse:
    user = person(request)
    workspace = selectors.current_workspace(user)
    services.require(user, workspace, Role.OWNER)
    context = {
        "form": form,
        "members": selectors.members(workspace),
        "roles": Role.choices,
        "link": request.build_absolute_uri(link) if link else "",
    }
    return render(request, "accounts/members.html", context, status=status_of(form))
