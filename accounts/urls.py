"""Addresses of people's pages."""

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", views.SignOut.as_view(), name="sign-out"),
    path("welcome/<str:token>/", views.welcome, name="welcome"),
    path("invitation/<str:uid>/<str:token>/", views.invitation, name="invitation"),
    path("me/", views.profile, name="profile"),
    path("me/theme/", views.theme, name="theme"),
    path("me/keys/", views.create_key, name="create-key"),
    path("me/keys/<int:pk>/revoke/", views.revoke_key, name="revoke-key"),
    path("members/", views.members, name="members"),
    path("members/add/", views.add_member, name="add-member"),
    path("members/<int:pk>/", views.change_member, name="change-member"),
]
