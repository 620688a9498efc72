"""A time-stamping authority over HTTP on loopback, which answers as it is told to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Given:
    """What the server gives: a status, a type and, of the query, an answer."""

    answer: Callable[[bytes], bytes]
    status: int = 200
    kind: str = "application/timestamp-reply"
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)  #: Content types of the queries that came.
    piece_bytes: int | None = None  #: The answer is sent in pieces of so many bytes.
    before_piece: Callable[[], None] = lambda: None
    cut_bytes: int = 0  #: So many are missing at the end.


@contextmanager
def time_server(given: Given) -> Iterator[str]:
    """Serve on a free port; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            given.asked.append(self.headers["Content-Type"])
            body = given.answer(query)
            self.send_response(given.status)
            self.send_header("Content-Type", given.kind)
            self.send_header("Content-Length", str(len(body)))
            for name, value in given.headers.items():
                self.send_header(name, value)
            self.end_headers()
            sent = body[: len(body) - given.cut_bytes]
            size = given.piece_bytes or max(1, len(body))
            with suppress(ConnectionError):  # who asked may have left
                for start in range(0, len(sent), size):
                    given.before_piece()
                    self.wfile.write(sent[start : start + size])

        def do_GET(self) -> None:
            given.asked.append("GET")
            self.send_error(405)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
