"""What the service says of its items when it ends."""

import re

__all__ = ["accounts"]


def accounts(log: str) -> list[dict[str, int]]:
    """The figures of the last line of each of its lives, by the words behind them, as `accepted` and `handed`."""
    return [
        {word: int(number) for number, word in re.findall(r"(\d+) (?:items )?(\w+)", line)}
        for line in re.findall(r"stopped: ([^\"\n]+)", log)
    ]
