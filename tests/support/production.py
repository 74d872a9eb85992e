"""The overlays of docs/production.md, as its readers write them."""

import re
import shutil
from pathlib import Path

from tests.support.manifests import KNATIVE, Manifest, build
from tests.support.serving import ROOT

PAGE = (ROOT / "docs" / "production.md").read_text()
EXAMPLE = re.compile(r"```yaml\n# knative/overlays/([\w-]+)/kustomization\.yaml\n(.*?)```", re.DOTALL)
EXAMPLES = dict(EXAMPLE.findall(PAGE))


def build_example(name: str, scratch: Path) -> list[Manifest]:
    """The manifests of that example, in a copy of knative/."""
    copied = scratch / "knative"
    if not copied.exists():
        shutil.copytree(KNATIVE, copied)
    folder = copied / "overlays" / name
    folder.mkdir(exist_ok=True)
    (folder / "kustomization.yaml").write_text(EXAMPLES[name])
    return build(folder)
