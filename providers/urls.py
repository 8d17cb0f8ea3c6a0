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
    path("providers/routes/<slug:purpose>/try/", views.try_route, name="route-try"),
    path("providers/new/", views.new, name="new"),
    path("providers/new/models/", views.models, name="models"),
    path("providers/<int:pk>/", views.detail, name="detail"),
    path("providers/<int:pk>/settings/", views.edit, name="edit"),
    path("providers/<int:pk>/key/", views.replace_key, name="key"),
    path("providers/<int:pk>/key/spare/", views.drop_spare_key, name="key-spare"),
    path("providers/<int:pk>/test/", views.test, name="test"),
    path("providers/<int:pk>/try/", views.try_it, name="try"),
    path("providers/<int:pk>/models/<int:model>/prices/", views.prices, name="prices"),
    path("providers/<int:pk>/models/<int:model>/reprice/", views.reprice, name="reprice"),
    path(
        "providers/<int:pk>/models/<int:model>/prices/<int:price>/drop/",
        views.drop_price,
        name="price-drop",
    ),
    path("providers/<int:pk>/models/<int:model>/<slug:act>/", views.rest_model, name="rest-model"),
    path("providers/<int:pk>/rest/", views.rest_all, name="rest"),
    path("providers/<int:pk>/return/", views.return_all, name="return"),
    path("providers/<int:pk>/switch/", views.switch, name="switch"),
    path("settings/limits/", views.limits, name="limits"),
    path("settings/limits/use/", views.use, name="use"),
    path("settings/answers/", views.answers, name="answers"),
    path("settings/answers/forget/", views.forget, name="answers-forget"),
    path("settings/answers/<slug:purpose>/", views.keep, name="answers-rules"),
    path("settings/books/", views.books, name="books"),
    path("settings/books/books.csv", views.books_csv, name="books-csv"),
]
