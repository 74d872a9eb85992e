"""What is compared: the Knative Service of each side, derived from knative/overlays/kind, and how it is asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.benchmark.lineup import EAGER, ENGINES, HELLO, ours
from tests.benchmark.photo import Body, is_espresso
from tests.cluster.conftest import kind_overlay
from tests.cluster.knative import Route
from tests.support.manifests import Manifest
from tests.support.serving import Answer

PROBED_EACH_SECOND, WITH_VOLUME = f"{ours('aoti')}, probed every 1 s", f"{ours('aoti')}, with a volume"


@dataclass(frozen=True)
class Side:
    """A service. `body` is None where a GET is the whole question.

    `probe` is the path for readiness, where it is not Kindling's own; `change` is what makes a variant of it.
    """

    name: str
    service: str
    image: str
    path: str
    body: Body | None
    probe: str = ""
    change: Callable[[Manifest], None] | None = None

    @property
    def is_ours(self) -> bool:
        return not self.probe

    def ask(self, route: Route) -> Answer:
        if self.body is None:
            return route.call("GET", self.path)
        return route.call("POST", self.path, self.body.read(), {"Content-Type": self.body.content_type})

    def is_correct(self, answer: Answer) -> bool:
        return answer.status == 200 and (is_espresso(answer.body) if self.body else bool(answer.body))

    def manifest(self, image: str) -> Manifest:
        """overlays/kind with this side's name and image; where it is not ours also its probes' path and environment."""
        manifest = kind_overlay(image)
        manifest["metadata"]["name"] = self.service
        container = _container(manifest)
        if not self.is_ours:
            (threads,) = (each["value"] for each in container["env"] if each["name"] == "REQUEST_THREADS")
            container["env"] = [{"name": "THREADS", "value": threads}]
            for kind in ("readinessProbe", "livenessProbe"):
                container[kind]["httpGet"]["path"] = self.probe
        if self.change:
            self.change(manifest)
        return manifest

    def kept_at_one_pod(self) -> "Side":
        """The same as a service of its own that neither sleeps nor grows."""
        return replace(self, service=f"{self.service}-warm", change=one_pod)


def sides(jpeg: Body) -> list[Side]:
    """Kindling with each engine, the tutorial's service, hello-world."""
    return [
        *(Side(ours(each), f"kindling-{each}", f"kindling:{each}", "/infer", jpeg) for each in ENGINES),
        Side(EAGER, "tutorial", "kindling-bench:tutorial", "/infer", jpeg, "/ready"),
        Side(HELLO, "hello", "kindling-bench:hello", "/", None, "/"),
    ]


def variants(jpeg: Body) -> list[Side]:
    """Kindling with settings that are there to be compared with its own."""
    changes = {PROBED_EACH_SECOND: _probed_each_second, WITH_VOLUME: _with_volume}
    return [
        Side(name, f"kindling-aoti{change.__name__.replace('_', '-')}", "kindling:aoti", "/infer", jpeg, change=change)
        for name, change in changes.items()
    ]


def one_pod(manifest: Manifest) -> None:
    """It neither sleeps nor grows."""
    for bound in ("min-scale", "max-scale"):
        manifest["spec"]["template"]["metadata"]["annotations"][f"autoscaling.knative.dev/{bound}"] = "1"


def _probed_each_second(manifest: Manifest) -> None:
    _container(manifest)["readinessProbe"]["periodSeconds"] = 1


def _with_volume(manifest: Manifest) -> None:
    """For a pod with a volume the kubelet looks every 300 ms whether it is mounted."""
    manifest["spec"]["template"]["spec"]["volumes"] = [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]
    _container(manifest)["volumeMounts"] = [{"name": "tmp", "mountPath": "/tmp"}]


def _container(manifest: Manifest) -> Manifest:
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    return container  # type: ignore[no-any-return]
