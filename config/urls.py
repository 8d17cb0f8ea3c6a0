"""Every address of the product: health, admin, API, then the pages of each app."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from config.api import api
from core.views import live, ready

urlpatterns: list[URLPattern | URLResolver] = [
    path("live", live, name="live"),
    path("ready", ready, name="ready"),
    path("admin/", admin.site.urls),
    path("api/v1/", api.urls),
    path("", include("accounts.urls")),
    path("", include("providers.urls")),
    path("", include("projects.urls")),
    path("", include("analyses.urls")),
]

handler500 = "core.views.broken"
