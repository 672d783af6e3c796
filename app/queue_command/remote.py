"""A running service, asked over its admin port."""

import asyncio
import json
from http.client import HTTPConnection, HTTPException
from typing import Any, Self
from urllib.parse import urlencode, urlsplit

from app.core.request import ExportRequest, Signal
from app.queue.desk import Fields
from app.queue.letters import Selection
from app.queue_command.desk import NoAnswerError

__all__ = ["Remote", "UnreachableError"]

_CONNECT_SECONDS = 5.0
_PAGE = 1000
_REMEDY = "is `otlp-service serve` running?"


class UnreachableError(NoAnswerError):
    """Nobody listens there."""


class Remote:
    """The service whose admin port is at `host` and `port`; an answer may take it up to `patience` seconds."""

    def __init__(self, host: str, port: int, patience: float = 600) -> None:
        self._host = host
        self._port = port
        self._patience = patience
        self.place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @classmethod
    def at(cls, url: str) -> Self:
        """The service at ``http://HOST:PORT``.

        Raises:
            ValueError: that is no such URL.
        """
        try:
            parts = urlsplit(url)
            port = parts.port or 80
        except ValueError:
            parts, port = urlsplit(""), 0
        if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"{url!r} is no address of an admin port; write http://127.0.0.1:9090")
        return cls(parts.hostname, port)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def status(self) -> Fields:
        return await self._json("GET", "/queue")

    async def find(self, selection: Selection, limit: int) -> list[Fields]:
        if selection.sequences is not None:
            return [await self._json("GET", f"/queue/dead/{sequence}") for sequence in sorted(selection.sequences)]
        query: dict[str, Any] = {} if selection.reason is None else {"reason": selection.reason}
        if selection.signal is not None:
            query["signal"] = selection.signal.value
        found: list[Fields] = []
        after = 0
        while len(found) < limit:
            page = min(_PAGE, limit - len(found))
            answer = await self._json("GET", f"/queue/dead?{urlencode(query | {'after': after, 'limit': page})}")
            found += answer["letters"]
            if len(answer["letters"]) < page:
                break
            after = found[-1]["sequence"]
        return found

    async def body(self, sequence: int) -> ExportRequest:
        letter = await self._json("GET", f"/queue/dead/{sequence}")
        body = await self._ask("GET", f"/queue/dead/{sequence}/body")
        return ExportRequest(Signal(letter["signal"]), body, letter["items"])

    async def replay(self, selection: Selection) -> Fields:
        return await self._json("POST", "/queue/dead/replay", _choice(selection))

    async def purge(self, selection: Selection) -> Fields:
        return await self._json("POST", "/queue/dead/purge", _choice(selection))

    async def _json(self, method: str, path: str, choice: Fields | None = None) -> Fields:
        answer = await self._ask(method, path, choice)
        try:
            fields: Fields = json.loads(answer)
        except ValueError:
            raise NoAnswerError(f"{self.place} is no admin port of otlp-service: it answered {answer[:80]!r}") from None
        return fields

    async def _ask(self, method: str, path: str, choice: Fields | None = None) -> bytes:
        try:
            status, answer = await asyncio.to_thread(self._exchange, method, path, choice)
        except ConnectionRefusedError:
            raise UnreachableError(f"nothing listens on {self.place}; {_REMEDY}") from None
        except (OSError, HTTPException) as error:
            raise NoAnswerError(f"{self.place} cannot be asked: {error or type(error).__name__}") from None
        if status == 200:
            return answer
        raise NoAnswerError(_reason(self.place, status, answer))

    def _exchange(self, method: str, path: str, choice: Fields | None) -> tuple[int, bytes]:
        connection = HTTPConnection(self._host, self._port, timeout=_CONNECT_SECONDS)
        try:
            connection.connect()
            connection.sock.settimeout(self._patience)
            if choice is None:
                connection.request(method, path)
            else:
                connection.request(method, path, json.dumps(choice), {"content-type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def _choice(selection: Selection) -> Fields:
    choice: Fields = {}
    if selection.sequences is not None:
        choice["sequences"] = sorted(selection.sequences)
    if selection.signal is not None:
        choice["signal"] = selection.signal.value
    if selection.reason is not None:
        choice["reason"] = selection.reason
    return choice or {"all": True}


def _reason(place: str, status: int, answer: bytes) -> str:
    try:
        detail = json.loads(answer)["detail"]
    except (ValueError, TypeError, KeyError):
        detail = answer[:200].decode(errors="replace")
    if status == 404 and detail == "Not Found":
        return f"{place} is no admin port of an otlp-service that has /queue; see metrics.port"
    return f"{place} answered {status}: {detail}"
