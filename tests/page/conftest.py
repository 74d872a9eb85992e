"""The page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from model import pictures
from tests.conftest import Serve
from tests.support import browser as browsers
from tests.support.browser import Visit
from tests.support.exporting import Exports
from tests.support.serving import Server

Visiting = Callable[..., Visit]

CAT = pictures.folder() / "chelsea.png"


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """For this room only: as long as it is there, no other test can start a loop of asyncio."""
    with browsers.browsing(chromium) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visiting]:
    """visit(server, **options): the page of a service, in a browser that knows nothing of other visits."""
    with ExitStack() as stack:
        yield lambda server, **options: stack.enter_context(
            browsers.visiting(browser, browsers.url_of(server), **options)
        )


@pytest.fixture
def tiny_page_server(serve: Serve, tiny_onnx: Path) -> Server:
    """Labels pictures at once, and keeps no jobs."""
    return serve(tiny_onnx)


@pytest.fixture(scope="session")
def sqlite_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('page')}/jobs.sqlite"


@pytest.fixture
def keeping_server(serve: Serve, tiny_onnx: Path, sqlite_url: str) -> Server:
    """Keeps jobs, and delivers them itself."""
    return serve(tiny_onnx, DATABASE_URL=sqlite_url)


@pytest.fixture
def tensor_server(serve: Serve, exports: Exports) -> Server:
    """A model that takes no pictures: one input of each datatype."""
    return serve(exports.artifact("types-onnx"))
