# make serve   set up, export the model, serve it on http://127.0.0.1:8080
# make test    set up, then every test that can run on this machine
# make image   the container image kindling:aoti (ENGINE=onnx: kindling:onnx; TARGET=lambda or functions: for those)
# make sbom    what the image holds, as CycloneDX: build/sbom-aoti.json
# make audit   known vulnerabilities of the locked packages, from PyPI
# make bench   the figures of the README, side by side with other servers
# make bench-cluster   a wake from zero pods, on the cluster, beside a hello-world and a tutorial's service
# make cluster a kind cluster with Knative, for skaffold and the tests; make cluster-delete
# make lint    ruff and mypy
# make lock    lock the newest versions of all packages
# make clean   remove what was built; make distclean: the virtual environment too

MODEL ?= efficientnet_lite0
ENGINE ?= aoti
PRECISION ?= fp32
TARGET ?= runtime
BASE ?= python:3.11-slim-bookworm
EXTRA ?=
EXPORT_FLAGS ?=

python := .venv/bin/python
artifact := build/$(subst /,-,$(subst :,-,$(MODEL)))-$(ENGINE)-$(PRECISION)
# A model of your own, path/to/file.py:function, is exported again after an edit.
source := $(wildcard $(firstword $(subst :, ,$(MODEL))))
# .ci/need reports at once what is missing or wrong, before anything that takes minutes.
wanted := MODEL=$(MODEL) ENGINE=$(ENGINE) PRECISION=$(PRECISION)

.PHONY: serve export test image sbom audit bench bench-cluster cluster cluster-delete lint lock clean distclean

serve:
	@.ci/need $(wanted) python settings port
	@$(MAKE) --no-print-directory export
	@.ci/setup export
	@MODEL_DIR=$(artifact) DATABASE_URL=$${DATABASE_URL:-sqlite:///build/jobs.sqlite} exec $(python) -m service

export: $(artifact)/artifact.json

$(artifact)/artifact.json: requirements/export.txt $(filter %.py,$(source))
	@.ci/need $(wanted) g++
	@.ci/setup export
	@echo "==> export $(MODEL) into $(artifact): two to three minutes, once" >&2
	@$(python) -m model export $(MODEL) --engine $(ENGINE) --precision $(PRECISION) $(EXPORT_FLAGS) --output $(artifact)

test:
	@.ci/need $(wanted)
	@.ci/setup test
	@$(MAKE) --no-print-directory export
	@$(python) -m pytest $(PYTEST_FLAGS)

# Lambda takes a single image, without the attestation that BuildKit adds by default.
ifeq ($(TARGET),lambda)
image: export BUILDX_NO_DEFAULT_ATTESTATIONS = 1
endif
image:
	@.ci/need TARGET=$(TARGET) $(wanted) EXTRA=$(EXTRA) docker
	docker build --target $(TARGET) --build-arg BASE=$(BASE) \
	    --build-arg MODEL=$(MODEL) --build-arg ENGINE=$(ENGINE) --build-arg PRECISION=$(PRECISION) --build-arg EXTRA=$(EXTRA) \
	    -t kindling:$(ENGINE)$(addprefix -,$(filter-out runtime,$(TARGET))) .

sbom:
	@$(MAKE) --no-print-directory image TARGET=sbom
	@mkdir -p build
	docker run --rm kindling:$(ENGINE)-sbom >build/sbom-$(ENGINE).json

audit:
	@.ci/need curl
	@.ci/setup python
	@.ci/audit

bench:
	@.ci/need python bench $(BENCH_FLAGS)
	@.ci/setup test
	@$(MAKE) --no-print-directory export ENGINE=aoti
	@$(MAKE) --no-print-directory export ENGINE=onnx
	@$(python) -m tests.benchmark $(BENCH_FLAGS)

bench-cluster:
	@.ci/need python bench-cluster $(BENCH_FLAGS)
	@.ci/setup test
	@$(python) -m tests.benchmark.cluster $(BENCH_FLAGS)

cluster:
	@knative/cluster up

cluster-delete:
	@knative/cluster delete

lint:
	@.ci/setup test
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@$(python) -m mypy

lock:
	@.ci/setup test
	@.ci/lock

clean:
	rm -rf build

distclean: clean
	rm -rf .venv
