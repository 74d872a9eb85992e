# docker build -t kindling .
# docker build --build-arg ENGINE=onnx --build-arg MODEL=torchvision:resnet50 -t kindling .
# docker build --build-arg EXTRA=s3 -t kindling .
# docker build --target lambda -t kindling:lambda .         docker build --target functions -t kindling:functions .

# A tag names another image after each update of Debian or Python; NAME@sha256:DIGEST always names the same image.
ARG BASE=python:3.11-slim-bookworm

# ---- export: the model, compiled and checked; of the engine only the libraries that the model needs leave this stage
FROM $BASE AS export
# --reinstall: a slimmed base image may list libc6-dev as installed, but without the files that the linker needs.
RUN apt-get update && apt-get install -y --no-install-recommends --reinstall g++ libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1
COPY requirements/export.txt requirements/
COPY .ci/setup .ci/
RUN .ci/setup export
# Only what the export needs of the service, so that a change of anything else does not compile the model again.
COPY model model
COPY service/errors.py service/late.py service/
COPY service/protocol/__init__.py service/protocol/image.py service/protocol/tensor.py service/protocol/
COPY service/protocol/picture service/protocol/picture
COPY service/runtime/__init__.py service/runtime/cpu.py service/runtime/
COPY service/runtime/engine service/runtime/engine
ARG MODEL=efficientnet_lite0
ARG ENGINE=aoti
ARG PRECISION=fp32
RUN .venv/bin/python -m model export "$MODEL" --engine "$ENGINE" --precision "$PRECISION" --output artifact
RUN .venv/bin/python -c "import json; print(json.load(open('artifact/artifact.json'))['engine'])" >engine \
    && mkdir libtorch libonnxruntime \
    && if grep -q '"runtime": "libtorch"' artifact/artifact.json; then .venv/bin/python -m model.libraries aoti libtorch; fi \
    && if grep -q onnx engine; then .venv/bin/python -m model.libraries onnx libonnxruntime; fi

# ---- deps: the packages of the service -----------------------------------------------------------------------------
FROM $BASE AS deps
WORKDIR /app
COPY requirements/service.txt requirements/s3.txt requirements/
# s3: for an event's `dataref` in S3
ARG EXTRA=
RUN pip install --no-cache-dir --no-compile --no-deps --require-hashes --prefix /packages \
        --requirement requirements/service.txt ${EXTRA:+--requirement "requirements/$EXTRA.txt"} \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /packages

# ---- service: what changes least comes first ---------------------------------------------------------------------
FROM $BASE AS service
# The base image has no byte code of the standard library, and a read-only container would compile it at every start.
# Some of the library's test files are invalid Python on purpose, so errors do not stop the build.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash \
        "$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" || true
COPY --from=deps /packages /usr/local
WORKDIR /app
COPY --from=export /app/libtorch libtorch
COPY --from=export /app/libonnxruntime libonnxruntime
COPY --from=export /app/artifact artifact
COPY model/__init__.py model/artifact.py model/
COPY service service
# `::` is every IPv6 and IPv4 address, or every IPv4 address where there is no IPv6.
ENV HOST=:: PORT=8080 MODEL_DIR=/app/artifact LIBTORCH_DIR=/app/libtorch ONNXRUNTIME_DIR=/app/libonnxruntime \
    PYTHONDONTWRITEBYTECODE=1 PYTHONSAFEPATH=1 PYTHONPATH=/app
RUN python -m compileall -q --invalidation-mode unchecked-hash model service
EXPOSE 8080

# ---- dev: for `skaffold dev`; starts the service again when one of its files changes in the container --------------
FROM service AS dev
COPY requirements/dev.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/dev.txt \
    && python -m compileall -q -f --invalidation-mode checked-hash service \
    && chown -R 65532:65532 service
USER 65532:65532
CMD ["watchfiles", "--filter", "python", "python -m service", "service"]

# ---- lambda: for AWS Lambda, which runs it as its own user, with only /tmp to write to -----------------------------
FROM service AS lambda
COPY requirements/lambda.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/lambda.txt
USER 65532:65532
RUN python -c "from service.cloud.aws_lambda import handler as answer; \
        assert answer({'httpMethod': 'GET', 'path': '/v2/health/ready'}, None)['statusCode'] == 200"
ENTRYPOINT ["python", "-m", "awslambdaric"]
CMD ["service.cloud.aws_lambda.handler"]

# ---- functions: for Cloud Run functions; FUNCTION_TARGET is http, or event for events only -------------------------
FROM service AS functions
COPY requirements/functions.txt requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/functions.txt
USER 65532:65532
# functions-framework makes `HOST:PORT` of them, without the brackets that `::` would need.
ENV FUNCTION_TARGET=http HOST=0.0.0.0
RUN python -m service.cloud.framework & function=$!; \
    ready() { python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/v2/health/ready')" 2>/dev/null; }; \
    for try in $(seq 50); do ready && break; sleep 0.2; done; ready && kill $function && wait $function
CMD ["python", "-m", "service.cloud.framework"]

# ---- sbom: prints what the image holds, as CycloneDX ---------------------------------------------------------------
FROM service AS sbom
COPY requirements/sbom.txt requirements/
RUN python -m venv --without-pip /sbom \
    && pip --python /sbom/bin/python install --no-cache-dir --no-deps --require-hashes --requirement requirements/sbom.txt
COPY .ci/sbom /sbom/bin/
RUN /sbom/bin/python /sbom/bin/sbom >/sbom.json
USER 65532:65532
CMD ["cat", "/sbom.json"]

# ---- runtime: the image; the build fails unless it is ready, which means that the model has passed its self-test ---
FROM service AS runtime
USER 65532:65532
RUN python -m service & service=$!; \
    ready() { python -c "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/v2/health/ready')" 2>/dev/null; }; \
    for try in $(seq 50); do ready && break; sleep 0.2; done; ready && kill $service && wait $service
CMD ["python", "-m", "service"]
