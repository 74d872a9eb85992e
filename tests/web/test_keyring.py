"""Keys and rates by themselves: what is compared, and how many requests pass."""

import hmac
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import keys
from service.keys import Bucket, Key, Keyring, Rate, digest_of, make, parse
from tests.support.serving import ROOT

KEYS = [make() for _ in range(5)]


def _ring() -> Keyring:
    return Keyring([Key(f"caller-{number % 4}", digest_of(key)) for number, key in enumerate(KEYS)])


def test_a_key_tells_its_caller_and_two_may_be_of_one() -> None:
    ring = _ring()
    assert [ring.name_of(key) for key in KEYS] == ["caller-0", "caller-1", "caller-2", "caller-3", "caller-0"]
    for wrong in (
        "",
        KEYS[0][:-1],
        KEYS[0] + "x",
        KEYS[0].upper(),
        f" {KEYS[0]}",
        digest_of(KEYS[0]).hex(),
        "ä",
        "\ud800",
    ):
        assert ring.name_of(wrong) is None


@pytest.mark.parametrize("key", ["", "x", KEYS[0][:-1], *KEYS])
def test_any_key_is_compared_with_all_by_a_comparison_without_a_shortcut(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the time tells neither whether a key exists, nor where it stands, nor how much of it is right."""
    compared: list[tuple[int, int]] = []
    real = hmac.compare_digest

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    _ring().name_of(key)
    assert compared == [(32, 32)] * len(KEYS)


class Clock:
    now_s = 1e6

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("rate", [Rate(10, 20), Rate(0.3, 1), Rate(1 / 3600, 5), Rate(7, 3), Rate(1000, 1)])
def test_a_request_passes_after_the_pause_that_it_was_told_and_not_before(rate: Rate) -> None:
    clock = Clock()
    bucket = Bucket(rate, clock)
    assert [bucket.take() for _ in range(rate.burst)] == [0] * rate.burst
    for _ in range(100):
        wait_s = bucket.take()
        assert 0 < wait_s <= 1 / rate.per_s + 1e-6
        clock.now_s += wait_s * 0.9
        assert bucket.take() == pytest.approx(wait_s * 0.1, abs=1e-6)
        clock.now_s += wait_s * 0.1
        assert bucket.take() == 0


def test_of_many_at_once_exactly_the_burst_and_what_time_has_brought_pass() -> None:
    clock, burst, threads = Clock(), 20, 16
    ring = Keyring(
        parse(f"a=sha256:{'0' * 64};rate=10/s;burst={burst},a=sha256:{'1' * 64};rate=10/s;burst={burst}"), clock
    )
    together = threading.Barrier(threads)

    def ask(_: int) -> int:
        together.wait()
        return sum(ring.wait_s("a") == 0 for _ in range(25))

    with ThreadPoolExecutor(threads) as pool:
        for passed_s, wanted in ((0.0, burst), (1.5, 15), (0.1, 1), (1000.0, burst), (0.0, 0)):
            clock.now_s += passed_s
            assert sum(pool.map(ask, range(threads))) == wanted


def test_who_has_no_rate_never_waits() -> None:
    ring = Keyring(parse(f"a=sha256:{'0' * 64};rate=1/h,b=sha256:{'1' * 64}"))
    assert [ring.wait_s("b") for _ in range(1000)] == [0] * 1000
    assert ring.wait_s("a") == 0
    assert ring.wait_s("a") > 3000


def _made(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service.keys", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_makes_a_key_and_its_entry() -> None:
    made = [dict(line.rsplit(" ", 1) for line in _made("mobile.app-1").stdout.splitlines()) for _ in range(2)]
    pairs = [tuple(each.values()) for each in made]
    for key, entry in pairs:
        assert len(key) - len(keys.PREFIX) >= 32  # 192 bits
        assert Keyring(parse(entry)).name_of(key) == "mobile.app-1"
    assert pairs[0] != pairs[1]


@pytest.mark.parametrize("arguments", [(), ("a", "b"), ("a b",), ("",), ("-h",), ("a=",)])
def test_the_command_wants_one_name(arguments: tuple[str, ...]) -> None:
    done = _made(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: python -m service.keys NAME")
