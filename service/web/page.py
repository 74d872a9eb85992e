"""Routes: the page at `GET /`, its files, and what others than browsers get there."""

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Blueprint, Response, current_app, jsonify, request

import service
from service.errors import NotFound

routes = Blueprint("page", __name__)

FOLDER = Path(service.__path__[0]) / "page"
INDEX = "index.html"
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
HEADERS = {
    # The page asks nobody but this service, and nobody frames it. Its pictures are its own, or those that you chose.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A browser asks whether its copy is the newest, so that page and service are of one version.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class File:
    """`packed` is the body in gzip's form, or None where that is not smaller."""

    body: bytes
    packed: bytes | None
    etag: str
    content_type: str


@routes.get("/", provide_automatic_options=False)
def index() -> Response:
    """The page for browsers; for everybody else, and for who accepts anything, what there is as JSON."""
    accepted = request.accept_mimetypes
    html, json = accepted["text/html"], accepted["application/json"]
    is_page = html > json or (html == json > 0 and "text/html" in accepted.values())
    response = _respond(INDEX) if is_page else _overview()
    response.vary.add("Accept")
    return response


@routes.get("/page/<name>")
def file(name: str) -> Response:
    """A file that the page needs."""
    return _respond(name)


def _overview() -> Response:
    """What is served, and where; `status` is what KServe's V1 client asks for."""
    runtime, jobs = current_app.extensions["runtime"], current_app.extensions["jobs"]
    artifact, root = runtime.artifact, request.script_root
    paths = {"model": f"/v2/models/{artifact.name}", "infer": f"/v2/models/{artifact.name}/infer"}
    paths |= {"picture": "/infer"} if artifact.image else {}
    paths |= {"jobs": "/jobs"} if jobs.are_kept else {}
    paths |= {"ready": "/v2/health/ready", "metrics": "/metrics", "events": "/events/schema"}
    about: dict[str, Any] = {"status": "alive", "name": "kindling", "version": current_app.config["VERSION"]}
    about |= {"model": artifact.name, "engine": artifact.engine, "precision": artifact.precision}
    return jsonify(**about, links={name: root + path for name, path in paths.items()})


def _respond(name: str) -> Response:
    """The file as the client takes it; 304 if the client has it."""
    path = FOLDER / name
    try:
        changed_ns = path.stat().st_mtime_ns
    except (OSError, ValueError):  # also a name that no file can have
        changed_ns = None
    if changed_ns is None or path.suffix not in TYPES:
        raise NotFound("no such path")
    found = _read(path, changed_ns)
    response = Response(content_type=found.content_type, headers=HEADERS)
    # Weak, because the same file has two forms: compressed and not.
    response.set_etag(found.etag, weak=True)
    response.vary.add("Accept-Encoding")
    if request.if_none_match.contains_weak(found.etag):
        response.status_code = 304
    elif found.packed and request.accept_encodings["gzip"] > 0:
        response.data = found.packed
        response.headers["Content-Encoding"] = "gzip"
    else:
        response.data = found.body
    return response


@lru_cache(maxsize=64)
def _read(path: Path, _changed_ns: int) -> File:
    """The file, read when it is first asked for, so that no start waits for it, and again when it has changed."""
    body = path.read_bytes()
    packer = zlib.compressobj(9, wbits=31)  # 31: gzip's header
    packed = packer.compress(body) + packer.flush()
    return File(
        body,
        packed if len(packed) < len(body) * 0.9 else None,
        hashlib.sha256(body).hexdigest()[:16],
        TYPES[path.suffix],
    )
