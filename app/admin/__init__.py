"""What operators and their tools ask the service."""

from app.admin.queue import queue_routes
from app.admin.server import AdminServer

__all__ = ["AdminServer", "queue_routes"]
