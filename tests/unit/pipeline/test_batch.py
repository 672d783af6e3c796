import pytest

from app.pipeline.batch import due_in


@pytest.mark.parametrize(
    ("items", "waited", "seconds"),
    [(1, 0.0, 0.2), (9, 0.15, 0.05), (9, 0.2, 0.0), (9, 7.0, 0.0), (10, 0.0, 0.0), (11, 0.1, 0.0)],
)
def test_a_batch_is_due_when_it_is_large_or_old_enough(items: int, waited: float, seconds: float) -> None:
    assert due_in(items, waited, batch_size=10, batch_timeout=0.2) == pytest.approx(seconds)
