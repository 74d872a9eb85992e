"""Keys for a service that needs them."""

from service.keys import digest_of, make

MOBILE, MOBILE_NEXT, WEB = (make() for _ in range(3))
WRONG = make()
API_KEYS = "\n".join(
    f"{name}=sha256:{digest_of(key).hex()}" for name, key in (("mobile", MOBILE), ("mobile", MOBILE_NEXT), ("web", WEB))
)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
