# The suite on this machine, from a checkout, by the steps of the README:
#
#   docker build --target run --tag edge-suite .         docker run --rm edge-suite
#   docker build --target test --tag edge-suite-test .   docker run --rm edge-suite-test
#
# Emulated devices are made as root with namespaces and binfmt: `docker run --privileged edge-suite-test .ci/run`.
FROM python:3.11-slim-bookworm AS run
# An index with torch's build for CPUs; without it, pip takes the one with CUDA.
ARG TORCH_INDEX=""
# All other system packages are installed by make itself (.ci/system-packages); versions are those of the image's release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /suite
COPY . .
RUN make setup TORCH_INDEX="$TORCH_INDEX"
CMD ["make", "run"]

FROM run AS test
RUN make setup-dev browser tools
CMD ["make", "test"]
