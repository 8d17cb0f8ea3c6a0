"""Worker-time shell of the gateway: its journal, its health store, and the gateway itself."""

from providers.runner.gateways import open_gateway
from providers.runner.health import DatabaseHealth
from providers.runner.journal import DatabaseJournal

__all__ = ["DatabaseHealth", "DatabaseJournal", "open_gateway"]
