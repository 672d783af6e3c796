"""What the fault laboratory takes from the service's metrics."""

from tests.support.chaos.figures import Figures
from tests.support.scrape import Scrape

EMPTY = Scrape("")


def refused(traces: int, logs: int) -> Scrape:
    return Scrape(
        f'otlp_receiver_refused_items_total{{signal="traces",reason="memory"}} {traces}\n'
        f'otlp_receiver_refused_items_total{{signal="logs",reason="memory"}} {logs}\n'
    )


def waiting(items: int, seconds: float, dead: int = 0) -> Scrape:
    return Scrape(
        f'otlp_queue_items{{signal="logs"}} {items}\n'
        f'otlp_queue_dead_items{{signal="logs"}} {dead}\n'
        f"otlp_queue_oldest_age_seconds {seconds}\n"
    )


def exported(**codes: int) -> Scrape:
    return Scrape("".join(f'otlp_exporter_requests_total{{code="{code}"}} {times}\n' for code, times in codes.items()))


def test_a_counter_is_what_it_grew_by_over_all_signals() -> None:
    figures = Figures()
    figures.see(refused(1, 1), refused(3, 4))
    assert figures.refused == {"memory": 5}


def test_a_process_that_was_started_again_counts_from_zero() -> None:
    figures = Figures()
    figures.see(EMPTY, refused(3, 4))
    figures.see(EMPTY, refused(1, 0))
    assert figures.refused == {"memory": 8}


def test_of_what_goes_up_and_down_the_most_counts() -> None:
    figures = Figures()
    figures.see(EMPTY, waiting(7, 0.5))
    figures.see(waiting(7, 0.5), waiting(2, 3.5, dead=4))
    assert (figures.waiting, figures.oldest, figures.dead) == (7, 3.5, 4)


def test_what_was_seen_elsewhere_is_added() -> None:
    figures, other = Figures(), Figures()
    figures.see(EMPTY, refused(1, 1))
    other.see(refused(1, 1), refused(2, 1))
    other.see(EMPTY, waiting(3, 1.25))
    figures.merge(other)
    assert figures.cells() == ["memory 3", "0", "3, 1.2 s", "nothing"]


def test_many_codes_are_summed_up() -> None:
    figures = Figures()
    figures.see(EMPTY, exported(a=9, b=8, c=7, d=6, e=5, f=4, g=2, h=1))
    assert figures.cells()[1] == "a 9, b 8, c 7, d 6, e 5, f 4, 2 others 3"


def test_what_becomes_of_items_is_told_by_kind_and_a_clock_in_days() -> None:
    figures = Figures()
    before = Scrape('otlp_exporter_dropped_items_total{reason="rejected"} 2\n')
    figures.see(before, Scrape('otlp_exporter_dropped_items_total{reason="rejected"} 5\n'))
    figures.see(EMPTY, Scrape('otlp_queue_recovered_items_total{signal="logs"} 20\n'))
    figures.see(EMPTY, waiting(1, 365 * 86_400, dead=4))
    assert figures.cells()[2:] == ["1, 365 days", "recovered 20, dead 4, dropped, rejected 3"]
