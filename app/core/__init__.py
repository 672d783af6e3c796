"""The vocabulary of the service; imports nothing else of it."""
