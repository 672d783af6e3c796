"""What scripts/demo runs: the service, its console on and a terminal behind it, and ``otlp-service send`` in front.

Of the environment's configuration it heeds TLS and API keys (OTLP_SERVER__TLS__…, OTLP_AUTH__…). The client trusts the
service's certificate, or the authorities of --ca-file, shows that certificate where it is asked for one, and sends the
first key.
"""

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

from cryptography import x509

from app.send.options import Options, parse
from app.send.shop import LOG_RECORDS, METRICS, SPANS
from app.settings import ServerTlsSettings, Settings, SettingsError, check_files, load
from app.settings.api_keys import first_key
from scripts.traffic import Traffic

COMMAND = str(Path(sys.executable).with_name("otlp-service"))
SECONDS = 30.0
"""How long any one step may take."""

HEEDED = ("OTLP_SERVER__TLS__", "OTLP_AUTH__")
KEY = "x-api-key="

SENT = (("traces", "grpc", SPANS), ("metrics", "http/protobuf", METRICS), ("logs", "http/json", LOG_RECORDS))
"""What is sent, over which protocol, and the texts by which each item of it is known."""


class DemoError(Exception):
    """A step did not do what it should."""


class Stopped(BaseException):
    """Ctrl-C, or a signal that asks us to end."""


class Service:
    """``otlp-service serve``; what it prints is shown and remembered."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._printed: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [COMMAND, "serve"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,  # Ctrl-C is for us: a second signal would cut the drain short
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + SECONDS
        while self.health(stdout=subprocess.DEVNULL):
            if self._process.poll() is not None:
                raise DemoError(f"the service ended with {self._process.returncode} before it was ready")
            if time.monotonic() > deadline:
                raise DemoError(f"the service was not ready after {SECONDS:.0f} s")
            time.sleep(0.05)

    def health(self, stdout: int | None = None) -> int:
        """Run ``otlp-service health``; returns its exit code."""
        # It asks where this very service left its address, so that no other one on the same ports can answer.
        command = [COMMAND, "health"]
        return subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, stdout=stdout, check=False
        ).returncode

    def wait_until_printed(self, texts: tuple[str, ...]) -> None:
        def missing() -> list[str]:
            printed = "".join(self._printed)
            return [text for text, times in Counter(texts).items() if printed.count(text) < times]

        with self._news:
            self._news.wait_for(lambda: self._ended or not missing(), SECONDS)
            if missing():
                raise DemoError(f"the service did not print {', '.join(missing())}")

    def wait(self) -> None:
        """Return when it ends by itself, which it should not."""
        self._process.wait()
        raise DemoError(f"the service ended with {self._process.returncode}")

    def stop(self) -> int:
        """Drain it; returns its exit code."""
        self._process.terminate()
        try:
            return self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise DemoError(f"the service did not end within {SECONDS:.0f} s of SIGTERM") from None
        finally:
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        for line in self._process.stdout:
            print(line, end="", flush=True)
            with self._news:
                self._printed.append(line)
                self._news.notify()
        with self._news:
            self._ended = True
            self._news.notify()


def free_port(preferred: int) -> int:
    """`preferred` if nothing uses it, otherwise one that nothing uses."""
    for candidate in (preferred, 0):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(listener.getsockname()[1])
    raise DemoError("no port is free on 127.0.0.1")


class Client:
    """How ``otlp-service send`` gets through the doors of the service."""

    def __init__(self, environment: Mapping[str, str], ca_file: Path | None) -> None:
        try:
            loaded = load({}, environment)
            check_files(loaded)
        except SettingsError as error:
            raise DemoError(str(error)) from error
        tls = loaded.settings.server.tls
        self.host = "127.0.0.1" if tls.cert_file is None else certified_host(tls.cert_file)
        self.secure = tls.cert_file is not None
        self.options = [*tls_options(tls, ca_file), *key_options(loaded.settings)]
        self._environment = environment

    def arguments(self, kind: str, protocol: str, port: int) -> list[str]:
        """The command line of ``otlp-service send`` but for how much it is to send."""
        scheme = "https://" if self.secure else "" if protocol == "grpc" else "http://"
        where = ["--endpoint", f"{scheme}{self.host}:{port}", *self.options]
        return ["--signal", kind, "--protocol", protocol, *where]

    def send(self, kind: str, protocol: str, port: int, count: int) -> None:
        arguments = [*self.arguments(kind, protocol, port), "--count", str(count)]
        shown = [f"{KEY}****" if argument.startswith(KEY) else argument for argument in arguments]
        print(f"\n$ otlp-service send {' '.join(shown)}", flush=True)
        command = [COMMAND, "send", *arguments]
        if subprocess.run(command, env=self._environment, stdin=subprocess.DEVNULL, check=False).returncode:
            raise DemoError("not all that was sent was accepted")


def certified_host(cert_file: Path) -> str:
    """A name of this machine that a certificate is for."""
    certificate = x509.load_pem_x509_certificates(cert_file.read_bytes())[0]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    if "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress)):
        return "127.0.0.1"
    if "localhost" in names.get_values_for_type(x509.DNSName):
        return "localhost"
    raise DemoError(
        f"server.tls.cert_file: the certificate in {str(cert_file)!r} is neither for localhost nor for 127.0.0.1, "
        "so no client here would trust it; name another, or unset OTLP_SERVER__TLS__CERT_FILE and its sisters"
    )


def tls_options(tls: ServerTlsSettings, ca_file: Path | None) -> list[str]:
    if tls.cert_file is None:
        return []
    options = ["--ca-file", str(ca_file or tls.cert_file)]
    if tls.client_ca_file is not None:
        options += ["--cert-file", str(tls.cert_file), "--key-file", str(tls.key_file)]
    return options


def key_options(settings: Settings) -> list[str]:
    key = first_key(settings.auth.api_keys, settings.auth.api_keys_file)
    return [] if key is None else ["--header", KEY + key]


def options_of(client: Client, http: int, grpc: int) -> list[Options]:
    """How each signal is sent."""
    ports = {"grpc": grpc}
    return [parse(client.arguments(kind, protocol, ports.get(protocol, http))) for kind, protocol, _ in SENT]


def run(directory: Path, ca_file: Path | None, *, once: bool, traffic: bool) -> None:
    http, grpc, admin = free_port(8080), free_port(4317), free_port(9090)
    environment = os.environ | {
        "OTLP_SERVER__HOST": "127.0.0.1",
        "OTLP_SERVER__PORT": str(http),
        "OTLP_SERVER__GRPC_PORT": str(grpc),
        "OTLP_METRICS__PORT": str(admin),
        "OTLP_CONSOLE__ENABLED": "true",
        "OTLP_EXPORTER__PROTOCOL": "console",
        "OTLP_QUEUE__DIRECTORY": str(directory / "queue"),
        "OTLP_LOGGING__FORMAT": "text",
        "OTLP_SHUTDOWN__DELAY": "0s",
        "OTLP_TRACING__ENABLED": "false",  # what is printed is what was sent
        "TMPDIR": str(directory),
        "COLUMNS": str(max(80, shutil.get_terminal_size((100, 24)).columns)),
    }
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        environment["FORCE_COLOR"] = "1"  # what the service prints comes to this terminal through us
    client = Client(environment, ca_file)
    print(f"The console, a page that shows what the service does: http://127.0.0.1:{admin}/", flush=True)
    service = Service(environment)
    try:
        service.wait_until_ready()
        for kind, protocol, texts in SENT:
            client.send(kind, protocol, grpc if protocol == "grpc" else http, len(texts))
            service.wait_until_printed(texts)
        total = sum(len(texts) for _, _, texts in SENT)
        print(f"\nAll {total} items that were sent were printed. otlp-service health says:", flush=True)
        if service.health():
            raise DemoError("the service is not ready any more")
        if not once:
            print(
                f"\nThe service goes on, with OTLP/HTTP on {'https' if client.secure else 'http'}://{client.host}:{http}"
                f", OTLP/gRPC on {client.host}:{grpc}"
                f" and its console on http://127.0.0.1:{admin}/."
                + (" A purchase a second passes." if traffic else " --traffic would keep some telemetry flowing.")
                + "\nCtrl-C ends it.",
                flush=True,
            )
            with Traffic(options_of(client, http, grpc)) if traffic else nullcontext():
                service.wait()
    except Stopped:
        print(flush=True)
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        code = service.stop()
    if code:
        raise DemoError(f"the service ended with {code} instead of 0")


def stop(_number: int, _frame: FrameType | None) -> None:
    raise Stopped


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when everything was shown")
    parser.add_argument(
        "--traffic", action="store_true", help="keep a little telemetry flowing, to look at in the console"
    )
    parser.add_argument("--ca-file", metavar="FILE", type=Path, help="whom to trust, with OTLP_SERVER__TLS__CERT_FILE")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    # What is configured for something else here must not send the demo's spans elsewhere.
    for name in list(os.environ):
        if (name.startswith(("OTEL_", "OTLP_")) and not name.startswith(HEEDED)) or name == "CONFIG_PATH":
            del os.environ[name]
    try:
        with tempfile.TemporaryDirectory(prefix="otlp-service-demo-") as directory:
            run(Path(directory), options.ca_file, once=options.once, traffic=options.traffic)
    except DemoError as error:
        sys.exit(f"scripts/demo: {error}")


if __name__ == "__main__":
    main()
