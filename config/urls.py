"""Every address of the product: health, admin, API, then the pages of each app."""

from importlib import import_module
from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from core.views import live, ready

# Pages from the most general app to the most special one; each app's own file names its paths.
PAGES = ("core", "accounts", "providers", "projects", "templates_app", "analyses")

urlpatterns: list[URLPattern | URLResolver] = [
    path("live", live, name="live"),
    path("ready", ready, name="ready"),
    path("admin/", admin.site.urls),
]
if find_spec("config.api"):
    urlpatterns.append(path("api/v1/", import_module("config.api").api.urls))
urlpatterns += [path("", include(f"{app}.urls")) for app in PAGES if find_spec(f"{app}.urls")]
