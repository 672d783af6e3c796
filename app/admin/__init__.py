"""What operators and their tools ask the service."""

from app.admin.server import AdminServer

__all__ = ["AdminServer"]
