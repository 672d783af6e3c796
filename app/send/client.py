"""A client over one protocol: an exporter of the SDK, and what the destination answers to it."""

import gzip
import ssl
import warnings
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import requests
from requests.adapters import HTTPAdapter

from app.core.request import Signal
from app.send.answers import Answers, Outcome
from app.send.batch import Batch
from app.send.options import Options
from app.send.otlp_json import to_json
from app.settings.endpoint import split_endpoint, target

__all__ = ["Client"]


class _Exporter(Protocol):
    """What the six exporters have in common."""

    def export(self, batch: Any, /) -> Enum: ...
    def shutdown(self) -> None: ...


class Client:
    """Sends requests one at a time, and tries again what may pass, for as long as `options.timeout`."""

    def __init__(self, options: Options) -> None:
        self.answers = Answers(options.signal)
        self._exporter = (_grpc_exporter if options.protocol == "grpc" else _http_exporter)(options, self.answers)

    def send(self, batch: Batch, items: int) -> Outcome:
        """Send `batch`, which has `items` items, and wait for what becomes of them."""
        self.answers.forget()
        result = self._exporter.export(batch)
        return self.answers.outcome(items, succeeded=result.name == "SUCCESS")

    def close(self) -> None:
        """Let connections go; an export under way ends."""
        self._exporter.shutdown()


def _authorities(options: Options) -> str | None:
    """The system's rather than those that a library brings along."""
    return str(options.ca_file) if options.ca_file else ssl.get_default_verify_paths().cafile


def _grpc_exporter(options: Options, answers: Answers) -> _Exporter:
    import grpc  # noqa: PLC0415 - each protocol is imported only where it is spoken
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    secure = split_endpoint(options.endpoint).scheme == "https"
    credentials = None
    if secure:
        files = _authorities(options), options.key_file, options.cert_file
        credentials = grpc.ssl_channel_credentials(*(Path(file).read_bytes() if file else None for file in files))
    exporters = {Signal.TRACES: OTLPSpanExporter, Signal.METRICS: OTLPMetricExporter, Signal.LOGS: OTLPLogExporter}
    exporter = exporters[options.signal](
        endpoint=target(options.endpoint),
        insecure=not secure,
        credentials=credentials,
        headers=options.headers,
        timeout=options.timeout,
        compression=grpc.Compression.Gzip if options.compression == "gzip" else grpc.Compression.NoCompression,
        channel_options=(("grpc.enable_http_proxy", 0),),
    )
    # The exporter throws answers away and has no hook for them; it makes a stub for each channel that it opens.
    stub = exporter._stub  # noqa: SLF001
    exporter._stub = lambda channel: _Stub(stub(channel), answers)  # noqa: SLF001
    exporter._client = exporter._stub(exporter._channel)  # noqa: SLF001
    made: _Exporter = exporter
    return made


class _Stub:
    """A stub that takes note of answers."""

    def __init__(self, stub: Any, answers: Answers) -> None:
        self._stub = stub
        self._answers = answers

    def Export(self, **arguments: Any) -> Any:  # noqa: N802 - gRPC's name
        import grpc  # noqa: PLC0415 - as above

        try:
            response = self._stub.Export(**arguments)
        except grpc.RpcError as error:
            call: Any = error  # an error of a call is the call, too
            self._answers.grpc_error(call.code().name, call.details())
            raise
        self._answers.grpc_response(response)
        return response


def _http_exporter(options: Options, answers: Answers) -> _Exporter:
    from opentelemetry.exporter.otlp.proto.http import Compression  # noqa: PLC0415 - as above
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

    if options.insecure:
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")  # as was asked for
    json, squeeze = options.protocol == "http/json", options.compression == "gzip"
    session = requests.Session()
    session.trust_env = False  # no proxy, and no password that is meant for somebody else
    adapter = _Adapter(options.signal, answers, json=json, squeeze=squeeze and json, verify=not options.insecure)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    exporters = {Signal.TRACES: OTLPSpanExporter, Signal.METRICS: OTLPMetricExporter, Signal.LOGS: OTLPLogExporter}
    exporter: _Exporter = exporters[options.signal](
        endpoint=options.endpoint.rstrip("/") + options.signal.path,
        certificate_file=_authorities(options),
        client_key_file=str(options.key_file) if options.key_file else None,
        client_certificate_file=str(options.cert_file) if options.cert_file else None,
        headers=options.headers,
        timeout=options.timeout,
        compression=Compression.Gzip if squeeze and not json else Compression.NoCompression,
        session=session,
    )
    return exporter


class _Adapter(HTTPAdapter):
    """Where requests of the exporter leave and answers come back: it takes note of these, and writes those in JSON."""

    def __init__(self, signal: Signal, answers: Answers, *, json: bool, squeeze: bool, verify: bool) -> None:
        super().__init__()
        self._signal = signal
        self._answers = answers
        self._json = json
        self._squeeze = squeeze
        self._verify = verify

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: dict[str, str] | None = None,
    ) -> requests.Response:
        if self._json:
            self._rewrite(request)
        try:
            response = super().send(request, stream, timeout, verify if self._verify else False, cert, proxies)
            self._answers.http(response)
        except requests.RequestException as error:
            self._answers.lost(error)
            raise
        return response

    def _rewrite(self, request: requests.PreparedRequest) -> None:
        assert isinstance(request.body, bytes)  # noqa: S101 - the exporter's
        body = to_json(self._signal, request.body)
        if self._squeeze:
            body = gzip.compress(body)
            request.headers["Content-Encoding"] = "gzip"
        request.headers.update({"Content-Type": "application/json", "Content-Length": str(len(body))})
        request.body = body
