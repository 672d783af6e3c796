"""The dead letters: why they were refused, and what may be done with them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from app.console.html import Child, Markup, join, tag
from app.console.page import Live, Part, hint, table
from app.console.views.view import Access, Look
from app.console.words import plural, seconds, size
from app.core.errors import Retryable
from app.core.request import Signal
from app.queue import Desk, QueueError
from app.queue.letters import Selection

__all__ = ["ACTIONS", "PATH", "Choice", "DeadView", "done"]

PATH = "/console/dead"
ACTIONS = ("replay", "purge")
_SHOWN = 200
_DIGITS = 20
_TELLS = {
    "replay": "Move {what} back to the queue, to be delivered like any other?",
    "purge": "Delete {what} for good? This cannot be undone.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which letters are meant, as a form says it: one, those of a signal and a reason, or all."""

    sequence: int | None = None
    signal: Signal | None = None
    reason: str | None = None

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Choice":
        """Read it from the fields of a form.

        Raises:
            ValueError: it says nothing, or nothing that there is.
        """
        if "all" in given:
            return cls()
        sequence, signal, reason = given.get("sequence"), given.get("signal"), given.get("reason")
        if sequence is None and (signal is None or reason is None):
            raise ValueError("no letters are named; choose some on the page")
        if sequence is not None and not _is_number(sequence):
            raise ValueError(f"{sequence[:40]!r} is no number of a letter; choose one on the page")
        return cls(None if sequence is None else int(sequence), None if signal is None else Signal(signal), reason)

    def fields(self) -> dict[str, str]:
        """The same as the fields of a form."""
        if self.sequence is not None:
            return {"sequence": str(self.sequence)}
        if self.signal is None or self.reason is None:
            return {"all": "yes"}
        return {"signal": self.signal.value, "reason": self.reason}

    def selection(self) -> Selection:
        sequences = None if self.sequence is None else frozenset({self.sequence})
        return Selection(sequences, self.signal, self.reason)

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"dead letter {self.sequence}"
        if self.signal is None:
            return "all dead letters"
        return f"all dead letters of {self.signal.value} with the reason {self.reason}"


class DeadView:
    """The letters in groups and one by one; asks before it does something with them."""

    title = "Dead letters"

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def parts(self, look: Look) -> Sequence[Part]:
        given = look.parameters
        action = given.get("do", "")
        if action in ACTIONS and look.access is not Access.NONE:
            try:
                return [_question(action, Choice.parse(given), look.access)]
            except ValueError as error:
                return [hint(tag("p", f"That cannot be done: {error}."))]
        return [*_done(given), Live("letters", await self._letters(look.access))]

    async def _letters(self, access: Access) -> Markup:
        try:
            letters = await self._desk.find(Selection(), 0, _SHOWN)
        except (Retryable, QueueError) as error:  # it starts, ends, or its disk failed
            return hint(tag("p", f"The dead letters cannot be read now: {error}."))
        if not letters:
            return hint(
                tag(
                    "p",
                    "None. What the destination refuses for good stays here until it is sent again or deleted.",
                )
            )
        status = self._desk.status()["signals"].values()
        total = sum(each["dead_letters"] for each in status)
        items = sum(each["dead_items"] for each in status)
        told = f"{plural(total, 'letter')} with {plural(items, 'item')}."
        if total > len(letters):
            told += f" The {len(letters)} oldest are shown."
        groups = Counter((letter["signal"], letter["reason"]) for letter in letters)
        grouped = [
            [signal, reason, str(number), _actions(Choice(None, Signal(signal), reason), access)]
            for (signal, reason), number in groups.most_common()
        ]
        rows = [
            [
                str(letter["sequence"]),
                letter["signal"],
                str(letter["items"]),
                size(letter["bytes"]),
                tag("span", f"{seconds(int(letter['age_seconds']))} ago", title=letter["refused"]),
                tag("b", letter["reason"]),
                letter["message"],
                _actions(Choice(letter["sequence"]), access),
            ]
            for letter in letters
        ]
        head = ["Number", "Signal", "Items", "Size", "Refused", "Reason", "What the destination said", ""]
        return join(
            tag("p", told, " ", _actions(Choice(), access), class_="note"),
            _rights(access),
            tag("h2", "By reason"),
            table("Dead letters by reason", ["Signal", "Reason", "Shown", ""], grouped, ["", "", "number", "actions"]),
            tag("h2", "One by one"),
            table("Dead letters", head, rows, ["number", "", "number", "number", "", "", "wide", "actions"]),
        )


def _is_number(text: str) -> bool:
    """Whether it may be one that this service wrote: of 64 bits."""
    return text.isdecimal() and len(text) <= _DIGITS


def done(action: str, moved: Mapping[str, int]) -> str:
    """The address of the page that tells what was done."""
    return f"{PATH}?{urlencode({'done': action, **moved})}"


def _done(given: Mapping[str, str]) -> Sequence[Markup]:
    action = given.get("done")
    if action not in ACTIONS:
        return []
    letters, items, left = (
        int(text) if _is_number(text) else 0 for text in map(given.get, ("letters", "items", "left"), ("",) * 3)
    )
    went = "went back to the queue" if action == "replay" else f"{'was' if letters == 1 else 'were'} deleted"
    rest = f" {plural(left, 'letter')} stayed: damaged, or there was no room." if left else ""
    return [
        tag(
            "p", f"{plural(letters, 'letter')} with {plural(items, 'item')} {went}.{rest}", class_="done", role="status"
        )
    ]


def _question(action: str, choice: Choice, access: Access) -> Markup:
    fields: list[Child] = [
        tag("input", type="hidden", name=name, value=value) for name, value in {"do": action, **choice.fields()}.items()
    ]
    if access is Access.KEY:
        asked = tag("input", type="password", name="key", id="key", required=True, autocomplete="off")
        fields.append(tag("p", tag("label", "An API key of this service", for_="key"), asked))
    return tag(
        "form",
        tag("p", _TELLS[action].format(what=choice)),
        fields,
        tag(
            "p",
            tag("button", action.capitalize(), type="submit", class_="danger" if action == "purge" else "primary"),
            tag("a", "Leave it", href=PATH, class_="button"),
            class_="buttons",
        ),
        method="post",
        action=PATH,
        class_="question",
    )


def _actions(choice: Choice, access: Access) -> Markup:
    if access is Access.NONE:
        return join()
    what = str(choice)
    return tag(
        "span",
        [
            tag(
                "a",
                f"{action.capitalize()}{' all' if choice == Choice() else ''}…",
                href=f"{PATH}?{urlencode({'do': action, **choice.fields()})}",
                aria_label=f"{action.capitalize()} {what}",
                class_="button",
            )
            for action in ACTIONS
        ],
        class_="buttons",
    )


def _rights(access: Access) -> Markup | None:
    if access is not Access.NONE:
        return None
    return tag(
        "p",
        "To send them again or delete them, come from the machine or pod itself (",
        tag("code", "kubectl port-forward"),
        " counts), run ",
        tag("code", "otlp-service queue dead"),
        " there, or set API keys.",
        class_="note",
    )
