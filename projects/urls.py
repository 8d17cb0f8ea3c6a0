"""Addresses of projects, their data, jobs and trash."""

from django.urls import path

from projects.views import data, jobs, trash

app_name = "projects"
urlpatterns = [
    path("", data.home, name="home"),
    path("running/", data.running, name="running"),
    path("jobs/", jobs.everywhere, name="all-jobs"),
    path("jobs/short/", jobs.drawer, name="jobs-short"),
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
    path("p/<slug:slug>/jobs/", jobs.listing, name="jobs"),
    path("p/<slug:slug>/jobs/start/", jobs.start, name="job-start"),
    path("p/<slug:slug>/jobs/<uuid:uid>/", jobs.detail, name="job"),
    path("p/<slug:slug>/jobs/<uuid:uid>/file/", jobs.file, name="job-file"),
    path("p/<slug:slug>/jobs/<uuid:uid>/<str:action>/", jobs.act, name="job-act"),
    path("p/<slug:slug>/imports/<int:pk>/<str:action>/", jobs.act_on_import, name="import-act"),
    path("p/<slug:slug>/trash/", trash.listing, name="trash"),
    path("p/<slug:slug>/trash/restore/", trash.restore, name="restore"),
]
