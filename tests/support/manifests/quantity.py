"""What Kubernetes writes for amounts."""

import re

__all__ = ["quantity"]

_FACTORS = {
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "": 1,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}


def quantity(text: object) -> float:
    """Bytes, cores or whatever it counts, of ``512Mi``, ``250m``, ``1k`` or ``3``.

    Raises:
        ValueError: it is no quantity.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-zA-Z]*)", str(text))
    if not found or found[2] not in _FACTORS:
        raise ValueError(f"{text!r} is not a quantity")
    return float(found[1]) * _FACTORS[found[2]]
