"""Addresses of projects and their data."""

from django.urls import path

from projects import views

app_name = "projects"
urlpatterns = [
    path("", views.home, name="home"),
    path("running/", views.running, name="running"),
    path("projects/", views.project_list, name="list"),
    path("projects/new/", views.new, name="new"),
    path("p/<slug:slug>/", views.overview, name="overview"),
    path("p/<slug:slug>/data/", views.data, name="data"),
    path("p/<slug:slug>/data/upload/", views.upload, name="upload"),
    path("p/<slug:slug>/data/<int:number>/", views.dataset, name="dataset"),
    path(
        "p/<slug:slug>/data/<int:number>/conversations/<int:position>/",
        views.conversation,
        name="conversation",
    ),
]
