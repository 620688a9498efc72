"""AWS KMS on loopback, as far as signing with P-256 keys goes: JSON 1.1 over HTTP."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed


@dataclass
class KeyService:
    """Keys by their id; ``refusing`` answers every call as one that is not allowed.

    ``failing`` answers as one that is broken for now; ``asked`` counts the calls.
    """

    url: str = ""
    keys: dict[str, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    refusing: bool = False
    failing: bool = False
    asked: int = 0

    def make(self, key: str) -> str:
        """Make a key and return its public part in PEM."""
        self.keys[key] = ec.generate_private_key(ec.SECP256R1())
        return (
            self
            .keys[key]
            .public_key()
            .public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            .decode()
        )

    def answer(self, target: str, asked: dict[str, str]) -> tuple[int, dict[str, str]]:
        """Return status and body of an operation."""
        self.asked += 1
        if self.failing:
            return 500, {"__type": "KMSInternalException", "message": "broken for now"}
        if self.refusing:
            return 400, {"__type": "AccessDeniedException", "message": "not allowed to kms:Sign"}
        if target != "TrentService.Sign":
            return 400, {"__type": "UnknownOperationException"}
        if asked["KeyId"] not in self.keys:
            return 400, {"__type": "NotFoundException", "message": f"{asked['KeyId']} not found"}
        assert (asked["MessageType"], asked["SigningAlgorithm"]) == ("DIGEST", "ECDSA_SHA_256")
        digest = base64.b64decode(asked["Message"])
        algorithm = ec.ECDSA(Prehashed(hashes.SHA256()))
        signature = self.keys[asked["KeyId"]].sign(digest, algorithm)
        return 200, {"KeyId": asked["KeyId"], "Signature": base64.b64encode(signature).decode()}


@contextmanager
def key_service() -> Iterator[KeyService]:
    """Serve on a free port."""
    service = KeyService()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = service.answer(self.headers["X-Amz-Target"], asked)
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
