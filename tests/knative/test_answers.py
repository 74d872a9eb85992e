"""What docs/reference.md says of Knative's own answers has the numbers of knative/base."""

import re

import yaml

from tests.support.manifests import KNATIVE
from tests.support.serving import ROOT


def test_the_page_has_the_limits_of_the_base() -> None:
    page = (ROOT / "docs" / "reference.md").read_text()
    spec = yaml.safe_load((KNATIVE / "base" / "service.yaml").read_text())["spec"]["template"]["spec"]
    assert re.findall(r"(\d+) requests \(`containerConcurrency`\)", page) == [str(spec["containerConcurrency"])]
    assert re.findall(r"`timeoutSeconds` \((\d+)\)", page) == [str(spec["timeoutSeconds"])]
    (container,) = spec["containers"]
    settings = {each["name"]: each["value"] for each in container["env"]}
    # "after a third of `timeoutSeconds`"
    assert int(settings["REQUEST_TIMEOUT_MS"]) * 3 == spec["timeoutSeconds"] * 1000
