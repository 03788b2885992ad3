"""An OpenID Connect provider on loopback, which checks PKCE (RFC 7636) as real ones do."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import Thread
from urllib.parse import parse_qs, urlsplit

import httpx
import oidc_provider_mock
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response


class Provider:
    """``url``: its issuer. ``challenges``: those of authorizations, as S256 of a verifier."""

    def __init__(self) -> None:
        self._app = oidc_provider_mock.app()
        self._app.debug = False
        self._server = make_server("localhost", 0, self, threaded=True)
        self.url = f"http://localhost:{self._server.server_port}"
        self.challenges: set[str] = set()

    def __call__(self, environ, start_response):
        request = Request(environ)
        if request.path == "/oauth2/authorize" and request.args.get("code_challenge"):
            assert request.args["code_challenge_method"] == "S256"
            self.challenges.add(request.args["code_challenge"])
        if request.path == "/oauth2/token":
            body = request.get_data()
            environ["wsgi.input"] = BytesIO(body)
            if challenge_of(body) not in self.challenges:
                return Response('{"error": "invalid_grant"}', 400)(environ, start_response)
        return self._app(environ, start_response)

    def know(self, sub: str, **claims: object) -> None:
        """Store a person, or change what is said of one."""
        httpx.put(f"{self.url}/users/{sub}", json=claims).raise_for_status()

    def authorize(self, address: str, sub: str) -> str:
        """As ``sub``, agree to what ``address`` asks; return where the browser is sent back to."""
        answer = httpx.post(address, data={"sub": sub, "action": "authorize"})
        return answer.headers["Location"]

    def deny(self, address: str) -> str:
        return httpx.post(address, data={"action": "deny"}).headers["Location"]

    @contextmanager
    def running(self) -> Iterator["Provider"]:
        thread = Thread(target=self._server.serve_forever, args=[0.05], name="provider")
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


def challenge_of(form: bytes) -> str:
    """S256 of the verifier in ``form`` (RFC 7636, 4.6)."""
    verifier = parse_qs(form.decode()).get("code_verifier", [""])[0]
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def path_of(address: str) -> str:
    """Path and query, as Django's test client takes them."""
    parts = urlsplit(address)
    return f"{parts.path}?{parts.query}"


def asked(address: str) -> dict[str, str]:
    """The query of ``address``."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
