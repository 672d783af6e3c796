"""The subcommands of ``otlp-service queue``, and where each looks for its answer."""

import asyncio
import json
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from app import probe
from app.core.request import Signal
from app.queue.desk import Fields
from app.queue.letters import Selection
from app.queue_command.desk import Answers, NoAnswerError
from app.queue_command.local import Local
from app.queue_command.output import format_letters, format_request, format_status
from app.queue_command.remote import Remote, UnreachableError
from app.settings import Loaded

__all__ = ["main"]

Load = Callable[[Namespace], Loaded]
_Command = Callable[[Answers, Namespace], Coroutine[None, None, tuple[int, str]]]

_WHERE = """\
Without --url and --directory the service is asked that `otlp-service serve` started on this machine; where none runs,
the queue's directory is looked into, as it is configured."""


def main(arguments: list[str], configurable: Callable[[ArgumentParser], None], load: Load) -> tuple[int, str]:
    """Carry out a command line; the result is the exit code and what to print, on standard error if it is not 0.

    Args:
        arguments: what stands behind ``queue``.
        configurable: adds the options by which `load` finds the configuration.
        load: reads the configuration; only asked where it is needed.

    Raises:
        SystemExit: from argparse, for --help and for wrong usage.
        SettingsError: from `load`.
    """
    options = _parser(configurable).parse_args(arguments)
    try:
        return asyncio.run(_run(options, load))
    except NoAnswerError as error:
        return 1, f"otlp-service queue: {error}"


def _parser(configurable: Callable[[ArgumentParser], None]) -> ArgumentParser:
    def complete(parser: ArgumentParser, carry_out: _Command) -> ArgumentParser:
        where = parser.add_mutually_exclusive_group()
        where.add_argument(
            "--url", type=_remote, dest="remote", help="the service's admin port, such as http://127.0.0.1:9090"
        )
        where.add_argument("--directory", type=Path, metavar="DIR", help="the queue of a service that does not run")
        configurable(parser)
        parser.add_argument("--json", action="store_true", help="print JSON, for machines")
        parser.set_defaults(carry_out=carry_out)
        return parser

    def told(text: str) -> dict[str, Any]:
        return {"help": text, "description": text, "epilog": _WHERE, "allow_abbrev": False}

    top = ArgumentParser(prog="otlp-service queue", description="Look into the queue.", allow_abbrev=False)
    commands = top.add_subparsers(required=True, metavar="status | dead")
    text = "tell how full the queue is, and how much the destination refused"
    complete(commands.add_parser("status", **told(text)), _status)
    dead = commands.add_parser("dead", **told("what the destination refused for good"))
    letters = dead.add_subparsers(required=True, metavar="list | show | replay | purge")
    listing = complete(letters.add_parser("list", **told("list the dead letters")), _list)
    listing.add_argument("--signal", type=_signal, metavar="SIGNAL", help="only those of traces, metrics or logs")
    listing.add_argument("--reason", help="only those that were refused for this reason")
    listing.add_argument("--limit", type=_positive, default=1000, metavar="NUMBER", help="at most so many (1000)")
    show = complete(letters.add_parser("show", **told("print what was refused, as OTLP JSON")), _show)
    show.add_argument("sequence", type=_positive, metavar="SEQUENCE", help="its number in the list")
    replay = complete(letters.add_parser("replay", **told("move dead letters back to the queue")), _replay)
    purge = complete(letters.add_parser("purge", **told("delete dead letters for good")), _purge)
    purge.add_argument("--yes", action="store_true", help="do it; without this it is only told what would be done")
    for parser in (replay, purge):
        parser.add_argument("sequences", type=_positive, nargs="*", metavar="SEQUENCE", help="numbers in the list")
        parser.add_argument("--signal", type=_signal, metavar="SIGNAL", help="those of traces, metrics or logs")
        parser.add_argument("--reason", help="those that were refused for this reason")
        parser.add_argument("--all", action="store_true", help="every one")
        parser.set_defaults(refuse=parser.error)
    return top


async def _run(options: Namespace, load: Load) -> tuple[int, str]:
    if "refuse" in options:
        _check_choice(options)
    async with AsyncExitStack() as stack:
        answers = await _who_answers(options, load, stack)
        code, text = await options.carry_out(answers, options)
        return code, text


async def _who_answers(options: Namespace, load: Load, stack: AsyncExitStack) -> Answers:
    if options.remote:
        return await stack.enter_async_context(options.remote)
    address = None if options.directory else probe.read_address()
    if address is not None:
        host, port = address
        remote = Remote(probe.reachable(host), port)
        try:
            await remote.status()
        except UnreachableError:  # a service left its address that did not end in order
            address = None
        else:
            return remote
    settings = load(options).settings.queue
    if options.directory:
        settings = settings.model_copy(update={"directory": options.directory})
    elif settings.storage == "memory":
        raise NoAnswerError("no service runs here, and a queue in memory ends with it; see --url")
    return await stack.enter_async_context(Local(settings))


async def _status(answers: Answers, options: Namespace) -> tuple[int, str]:
    status = await answers.status()
    return 0, json.dumps(status) if options.json else format_status(status)


async def _list(answers: Answers, options: Namespace) -> tuple[int, str]:
    selection = Selection(signal=options.signal, reason=options.reason)
    letters = await answers.find(selection, options.limit + 1)
    shown = letters[: options.limit]
    return 0, json.dumps(shown) if options.json else format_letters(shown, more=len(letters) > options.limit)


async def _show(answers: Answers, options: Namespace) -> tuple[int, str]:
    (letter,) = await answers.find(Selection(frozenset({options.sequence})), 1)
    request = await answers.body(options.sequence)
    return 0, format_request(letter, request, indent=None if options.json else 2)


async def _replay(answers: Answers, options: Namespace) -> tuple[int, str]:
    selection = await _selection(answers, options)
    moved = await answers.replay(selection)
    text = f"{_count(moved)} moved back to the queue"
    if moved["left"]:
        text += f"; {_plural(moved['left'], 'letter')} could not be moved, the log says why"
    return (1 if moved["left"] else 0), json.dumps(moved) if options.json else text


async def _purge(answers: Answers, options: Namespace) -> tuple[int, str]:
    selection = await _selection(answers, options)
    if not options.yes:
        found = await answers.find(selection, 1 << 31)
        meant = {"letters": len(found), "items": sum(letter["items"] for letter in found)}
        return 1, f"{_count(meant)} would be deleted for good; say so with --yes"
    moved = await answers.purge(selection)
    return 0, json.dumps(moved) if options.json else f"{_count(moved)} deleted"


async def _selection(answers: Answers, options: Namespace) -> Selection:
    """Which letters are meant; those that are named must be there."""
    sequences = frozenset(options.sequences) or None
    if sequences is not None:
        await answers.find(Selection(sequences), len(sequences))
    return Selection(sequences, options.signal, options.reason)


def _check_choice(options: Namespace) -> None:
    given = bool(options.sequences) or options.signal is not None or options.reason is not None
    if given == options.all:
        options.refuse("name the numbers of dead letters, a --signal or a --reason, or else --all")


def _count(moved: Fields) -> str:
    return f"{_plural(moved['letters'], 'dead letter')} with {_plural(moved['items'], 'item')}"


def _plural(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _remote(url: str) -> Remote:
    try:
        return Remote.at(url)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def _signal(text: str) -> Signal:
    try:
        return Signal(text.lower())
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no signal; write traces, metrics or logs") from None


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() else 0
    if not 0 < number < 1 << 63:
        raise ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
