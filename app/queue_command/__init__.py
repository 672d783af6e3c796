"""``otlp-service queue``: how full the queue is, and what to do with its dead letters.

Beside a running service it asks the admin port, on a stopped one's directory it takes the directory's lock.
"""

from app.queue_command.command import main

__all__ = ["main"]
