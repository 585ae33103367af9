# SPDX-License-Identifier: MPL-2.0

"""Calls ECGrid's REST API with a key that Vault holds. Needs only the standard library."""

import http.client
import json
import re
import ssl
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future

TIMEOUT = 10  # seconds, of a request to ECGrid or to Vault


class EcgridError(Exception):
    """A call failed. The message says what to do, and never holds a key."""


class KeyFile:
    """Reads the key from the file that Vault Agent writes."""

    def __init__(self, path):
        self._path = path

    def read(self):
        return _read_line(self._path)


class VaultKey:
    """Reads the key from Vault, from a path such as ecgrid/static-creds/edi-gateway."""

    def __init__(self, address, path, token=None, token_file=None, namespace=None, ca_file=None):
        self._url = f"{address.rstrip('/')}/v1/{path}"
        self._path = path
        self._token = token
        self._token_file = token_file  # Agent replaces it, so it is read each time
        self._namespace = namespace
        self._opener = _opener(ca_file)

    def read(self):
        token = _read_line(self._token_file) if self._token_file else _visible(self._token or "", "VAULT_TOKEN")
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true"}
        if self._namespace:
            headers["X-Vault-Namespace"] = self._namespace
        status, answer = _get(self._opener, self._url, headers, "Vault")
        if status != 200:
            reasons = ", ".join(map(str, answer.get("errors") or [])) or "check the path, the token and its policy"
            raise EcgridError(f"Vault answered HTTP {status} to a read of {self._path}: {reasons}")
        return _visible((answer.get("data") or {}).get("api_key") or "", self._path)


class Ecgrid:
    """Keeps the key in memory between calls. Threads may share it."""

    def __init__(self, url, key_source):
        self._url = url.rstrip("/")
        self._source = key_source
        self._opener = _opener()
        self._lock = threading.Lock()
        self._key = None  # the last one that was read
        self._reading = None  # a Future of the key while it is being read

    def me(self):
        """Calls GET /users/me and returns the user.

        If ECGrid refuses the key, it is read again. The call is repeated once, and only
        with another key.
        """
        key = self._key_other_than(None)
        status, answer = self._get("/users/me", key)
        if status == 401:
            new_key = self._key_other_than(key)
            if new_key == key:
                raise EcgridError(
                    "ECGrid refused the key (HTTP 401), and reading it again gave the same one: Vault Agent may "
                    "need a moment to write a new key; otherwise check at ECGrid that the user is active"
                )
            status, answer = self._get("/users/me", new_key)
        if status == 401:
            raise EcgridError(
                "ECGrid refused the key (HTTP 401): check in Vault that it is the right user's, and at ECGrid that "
                "the user is active"
            )
        if status != 200:
            raise EcgridError(f"ECGrid answered HTTP {status} to GET /users/me: try again later")
        user = answer.get("data")
        if not isinstance(user, dict) or not user.get("login"):
            raise EcgridError(f"malformed answer of ECGrid to GET /users/me: check the address {self._url}")
        return user

    def _get(self, path, key):
        return _get(self._opener, self._url + path, {"X-API-Key": key}, "ECGrid")

    def _key_other_than(self, refused):
        """Returns the key in memory, or reads it if that is the refused one.

        Threads that need it at the same time share one read, and its failure.
        """
        with self._lock:
            if self._key != refused:
                return self._key
            reading, mine = self._reading, self._reading is None
            if mine:
                reading = self._reading = Future()
        if mine:
            self._read_for_all(reading)
        try:
            return reading.result()
        except (EcgridError, OSError) as error:
            why = "ECGrid refused the key (HTTP 401), and it cannot" if refused else "the key cannot"
            raise EcgridError(f"{why} be read: {error}") from error

    def _read_for_all(self, reading):
        key, failure = self._key, None
        try:
            key = self._source.read()
        except BaseException as error:  # the other threads must not wait forever
            failure = error
        with self._lock:
            self._key, self._reading = key, None
        if failure:
            reading.set_exception(failure)
        else:
            reading.set_result(key)


def _opener(ca_file=None):
    context = ssl.create_default_context(cafile=ca_file)
    return urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would send the key to another server."""

    def redirect_request(self, *_):
        return None


def _get(opener, url, headers, server):
    """Returns the status and the JSON object that the server answered."""
    deadline = time.monotonic() + TIMEOUT
    try:
        try:
            response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            response = error  # it has a status and a body, too
        with response:
            status, body = response.status, _read_body(response, deadline)
    except (OSError, http.client.HTTPException) as error:
        raise EcgridError(f"{server} gave no answer: {error}") from error
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None  # of a proxy, for instance
    return status, answer if isinstance(answer, dict) else {}


def _read_body(response, deadline):
    """Reads until the deadline. The timeout of urllib is that of a single read."""
    body = b""
    while True:
        part = response.read1(65536)
        if not part:
            return body
        if time.monotonic() > deadline:
            raise TimeoutError("timed out")
        body += part


def _read_line(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return _visible(file.read().strip(), path)


def _visible(value, source):
    """Refuses what cannot be in a header. The error of http.client would show it."""
    if not re.fullmatch(r"[!-~]+", value):
        raise EcgridError(f"{source} must hold one line of visible ASCII characters: check what writes it")
    return value
