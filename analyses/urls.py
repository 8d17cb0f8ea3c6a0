"""Addresses of analyses, all below ``/p/{project}/analyses/``."""

from __future__ import annotations

from django.urls import include, path

from analyses.views import comparing, controls, explore, exports, index, live, results

app_name = "analyses"

one = [
    path("", results.summary, name="summary"),
    path("live/", live.page, name="live"),
    path("live/fragments/", live.polled, name="fragments"),
    path("explore/", explore.explore, name="explore"),
    path("clusters/<int:key>/", explore.cluster, name="cluster"),
    path("conversations/<int:position>/", explore.conversation, name="conversation"),
    path("conversations/<int:position>/reveal/", explore.reveal, name="reveal"),
    path("conversations/<int:position>/card.json", explore.point, name="point"),
    path("insights/", results.insights, name="insights"),
    path("batches/", results.batches, name="batches"),
    path("map.bin", results.map_data, name="map-data"),
    path("map.json", results.map_clusters, name="map-clusters"),
    path("export/clusters.json", exports.clusters, name="export-clusters"),
    path("export/conversations.csv", exports.conversations, name="export-conversations"),
    path("batches/failed/", results.failed, name="failed"),
    path("limit/", controls.limit, name="limit"),
    path("providers/", controls.providers, name="providers"),
    path("compare/", comparing.compare, name="compare"),
    path("recovery/", controls.recovery, name="recovery"),
    path("dismiss/", controls.dismiss, name="dismiss"),
    path("<str:action>/", controls.act, name="act"),
]

urlpatterns = [
    path("p/<slug:slug>/analyses/", index.listing, name="list"),
    path("p/<slug:slug>/analyses/new/", index.new, name="new"),
    path("p/<slug:slug>/analyses/<int:number>/", include(one)),
]
