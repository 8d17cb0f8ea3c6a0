"""Addresses of providers' pages."""

from django.urls import path

from providers import views

app_name = "providers"
urlpatterns = [
    path("providers/", views.provider_list, name="list"),
    path("providers/fragments/", views.fragments, name="fragments"),
    path("providers/spend/", views.spend, name="spend"),
    path("providers/events/", views.events, name="events"),
    path("providers/test/", views.test_all, name="test-all"),
    path("providers/routes/<slug:purpose>/", views.route, name="route"),
    path("providers/routes/<slug:purpose>/change/", views.change_route, name="route-change"),
    path("providers/new/", views.new, name="new"),
    path("providers/<int:pk>/", views.edit, name="edit"),
    path("providers/<int:pk>/test/", views.test, name="test"),
    path("providers/<int:pk>/rest/", views.rest_all, name="rest"),
    path("providers/<int:pk>/return/", views.return_all, name="return"),
    path("providers/<int:pk>/switch/", views.switch, name="switch"),
    path("settings/limits/", views.limits, name="limits"),
]
