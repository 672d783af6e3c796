"""Markup."""

from app.console.html import Markup, join, tag

HOSTILE = "<script>alert('1')</script>\" onload=\"alert(2)"


def test_what_is_not_markup_is_escaped_wherever_it_is_put() -> None:
    escaped = "&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot; onload=&quot;alert(2)"
    assert tag("p", HOSTILE) == f"<p>{escaped}</p>"
    assert tag("p", title=HOSTILE) == f'<p title="{escaped}"></p>'
    assert tag("p", [HOSTILE, [HOSTILE]]) == f"<p>{escaped * 2}</p>"
    assert join(HOSTILE) == escaped


def test_markup_stays_as_it_is() -> None:
    assert tag("p", tag("b", "x"), Markup("<br>")) == "<p><b>x</b><br></p>"


def test_numbers_are_written_and_nothing_is_nothing() -> None:
    assert tag("p", 1, 2.5, None) == "<p>12.5</p>"
    assert tag("a", href=None, hidden=False, disabled=True) == '<a disabled=""></a>'


def test_an_attribute_may_be_a_word_of_python() -> None:
    assert tag("label", class_="x", for_="y", aria_label="z") == '<label class="x" for="y" aria-label="z"></label>'


def test_an_element_that_holds_nothing_has_no_end() -> None:
    assert tag("input", name="n", type="text") == '<input name="n" type="text">'
