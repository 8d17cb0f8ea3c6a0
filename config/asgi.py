"""The web process: pages and API over HTTP, live pages over WebSockets."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.core.asgi import get_asgi_application

# Loads the apps, so it must come before anything that imports a model.
pages = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from core.keeper import hold_database_open  # noqa: E402
from core.routing import websocket_urlpatterns  # noqa: E402

hold_database_open()

application = ProtocolTypeRouter(
    {
        "http": pages,
        # A page of another origin may not open a socket with the visitor's cookie.
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
