"""When a batch is due: plain functions of numbers and time."""

__all__ = ["due_in"]


def due_in(items: int, waited: float, *, batch_size: int, batch_timeout: float) -> float:
    """Seconds until `items` that have `waited` since the first of them came must be sent; 0 is now.

    The size is a trigger, not a ceiling: a batch then takes all that waits, up to a bound in bytes.
    """
    return 0.0 if items >= batch_size else max(0.0, batch_timeout - waited)
