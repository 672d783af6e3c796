"""The console: a page on the admin port that shows what the service does, while somebody looks.

Loaded only where `console.enabled` is set.
"""

from app.console.console import Console

__all__ = ["Console"]
