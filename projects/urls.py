"""Addresses of projects and their data."""

from django.urls import path

from projects.views import data

app_name = "projects"
urlpatterns = [
    path("", data.home, name="home"),
    path("running/", data.running, name="running"),
    path("projects/", data.project_list, name="list"),
    path("projects/new/", data.new, name="new"),
    path("p/<slug:slug>/", data.overview, name="overview"),
    path("p/<slug:slug>/data/", data.data, name="data"),
    path("p/<slug:slug>/data/upload/", data.upload, name="upload"),
    path("p/<slug:slug>/data/<int:number>/", data.dataset, name="dataset"),
    path(
        "p/<slug:slug>/data/<int:number>/conversations/<int:position>/",
        data.conversation,
        name="conversation",
    ),
]
