"""The command line: serve, health, config, queue, send. The only place that exits.

A subcommand imports what it needs only then.

Exit codes: 0 fine; 1 the answer is no (not ready, mistakes in the configuration that was to be checked, not all that
was sent accepted, or a service that ended in failure); 2 the command could not be carried out (wrong usage, or a
configuration with mistakes).
"""

import os
import sys

TYPE_CHECKING = False  # `typing` would cost `health` half of what it may
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable

    from app.settings import Loaded

__all__ = ["main"]

_USAGE = """\
usage: otlp-service [serve] [--config FILE] [--set SECTION.KEY=VALUE]...
       otlp-service health [--url URL] [--timeout SECONDS]
       otlp-service config check|show [--config FILE] [--set SECTION.KEY=VALUE]...
       otlp-service config schema
       otlp-service send [--signal traces|metrics|logs] [--protocol grpc|http/protobuf|http/json] [--count ITEMS]...
       otlp-service queue status [--url URL | --directory DIR] [--json]
       otlp-service queue dead list|show|replay|purge [--url URL | --directory DIR] [--json] ...
       otlp-service --version

A durable OTLP gateway: it acknowledges what it has safely kept, and delivers it to an OpenTelemetry Collector.

  serve         receive, keep and deliver telemetry, until SIGTERM; the default
  health        ask the running service whether it is ready
  config check  tell every mistake, and what is likely one
  config show   tell what is in force and where each value came from, with secrets masked
  config schema print the JSON Schema of the configuration file, for editors
  send          send telemetry to a service, and tell whether all of it was accepted
  queue status  tell how full the queue is
  queue dead    tell what the destination refused for good, and send it again or delete it

Exit codes: 0 fine; 1 not ready, not all accepted, mistakes found, or failed; 2 wrong usage, or a configuration with
mistakes."""


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line, that of the process unless given; the result is the exit code.

    Raises:
        SystemExit: from argparse, for --help and for wrong usage of a subcommand.
    """
    arguments = sys.argv[1:] if argv is None else argv
    first, rest = (arguments[0], arguments[1:]) if arguments else ("serve", [])
    commands = {
        "health": _health,
        "config": _config,
        "send": _send,
        "queue": _queue,
        "-h": _help,
        "--help": _help,
        "--version": _version,
    }
    if first == "serve":
        return _serve(rest)
    if first in commands:
        return _until_nobody_reads(commands[first], rest)
    return _serve(arguments) if first.startswith("-") else _unknown(first)


def _until_nobody_reads(command: "Callable[[list[str]], int]", arguments: list[str]) -> int:
    """Carry out a command whose reader may have had enough, as ``head`` has: that is an end, and no traceback."""
    try:
        try:
            return command(arguments)
        finally:
            print(end="", flush=True)  # what is held back until the interpreter ends would be told as its own failure
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more
        return 1


def _health(arguments: list[str]) -> int:
    from app.probe import main as probe

    code, line = probe(arguments)
    print(line, file=sys.stderr if code == 2 else sys.stdout)
    return code


def _serve(arguments: list[str]) -> int:
    # Before the imports, which take a second: the first process of a container ignores what it does not handle.
    import signal

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))  # nothing is open yet; the service brings its own
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what it asks for is being done
    options = _parser("serve", "Receive, keep and deliver telemetry, until SIGTERM.").parse_args(arguments)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # or each handshake that fails is a line in a form of gRPC's own
    from app.settings import SettingsError, check_files

    try:
        loaded = _load(options)
        check_files(loaded)
    except SettingsError as error:
        return _refuse(error.problems)
    from app.service import run

    return run(loaded)


def _config(arguments: list[str]) -> int:
    parser = _parser("config", "Look at the configuration without starting anything.")
    parser.add_argument(
        "what",
        choices=("check", "show", "schema"),
        help="tell its mistakes, what is in force, or (without options) what may be written, as JSON Schema",
    )
    options = parser.parse_args(arguments)
    if options.what == "schema" and (options.config or options.set):
        parser.error("config schema takes no options")
    return {"check": _check, "show": _show, "schema": _schema}[options.what](options)


def _send(arguments: list[str]) -> int:
    from app.send import main as send

    return send(arguments)


def _queue(arguments: list[str]) -> int:
    from app.queue_command import main as queue
    from app.settings import SettingsError

    try:
        code, text = queue(arguments, _configurable, _load)
    except SettingsError as error:
        return _refuse(error.problems)
    print(text, file=sys.stderr if code else sys.stdout)
    return code


def _check(options: "Namespace") -> int:
    from app.memory import find_cgroup
    from app.settings import SettingsError, check_files, warnings

    try:
        loaded = _load(options)
        cgroup = find_cgroup()
        for warning in warnings(loaded.settings, cgroup.limit if cgroup else None):
            print(f"warning: {warning}")
        check_files(loaded)
    except SettingsError as error:
        for doubt in error.doubts:
            print(f"warning: {doubt}")
        for problem in error.problems:
            print(f"error: {problem}")
        return 1
    print("no mistakes")
    return 0


def _show(options: "Namespace") -> int:
    from app.settings import SettingsError, show

    try:
        print(show(_load(options)), end="")
    except SettingsError as error:
        return _refuse(error.problems)
    return 0


def _schema(_options: "Namespace") -> int:
    import json

    from app.settings import schema

    print(json.dumps(schema(), indent=2))
    return 0


def _help(_arguments: list[str]) -> int:
    print(_USAGE)
    return 0


def _version(_arguments: list[str]) -> int:
    from importlib.metadata import version

    print(f"otlp-service {version('otlp-service')}")
    return 0


def _refuse(problems: list[str]) -> int:
    print("otlp-service: the configuration has mistakes:", file=sys.stderr)
    for problem in problems:
        print(f"  {problem}", file=sys.stderr)
    return 2


def _unknown(command: str) -> int:
    from difflib import get_close_matches

    commands = ("serve", "health", "config", "queue", "send")
    match = get_close_matches(command, commands, n=1)
    hint = f"did you mean {match[0]}?" if match else f"the commands are {', '.join(commands[:-1])} and {commands[-1]}"
    print(f"otlp-service: {command}: unknown command; {hint}", file=sys.stderr)
    return 2


def _parser(command: str, description: str) -> "ArgumentParser":
    from argparse import ArgumentParser

    parser = ArgumentParser(prog=f"otlp-service {command}", description=description, allow_abbrev=False)
    _configurable(parser)
    return parser


def _configurable(parser: "ArgumentParser") -> None:
    """Add the options by which `_load` finds the configuration."""
    parser.add_argument("--config", metavar="FILE", help="the configuration file, in place of CONFIG_PATH")
    parser.add_argument(
        "--set",
        metavar="SECTION.KEY=VALUE",
        action="append",
        default=[],
        type=_assignment,
        help="set one key, over the environment and the file; may be repeated",
    )


def _assignment(text: str) -> tuple[str, str]:
    from argparse import ArgumentTypeError

    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ArgumentTypeError("it is not SECTION.KEY=VALUE; write queue.wait=2s")  # what it is may be a secret
    return key, value


def _load(options: "Namespace") -> "Loaded":
    import os
    from pathlib import Path

    from app.settings import load

    return load(dict(options.set), os.environ, config=Path(options.config) if options.config else None)
