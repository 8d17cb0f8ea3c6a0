"""Addresses of providers' pages."""

from django.urls import path

from providers import views

app_name = "providers"
urlpatterns = [
    path("providers/", views.provider_list, name="list"),
    path("providers/new/", views.new, name="new"),
    path("providers/<int:pk>/", views.edit, name="edit"),
    path("providers/<int:pk>/test/", views.test, name="test"),
    path("providers/<int:pk>/switch/", views.switch, name="switch"),
    path("settings/limits/", views.limits, name="limits"),
]
