#!/usr/bin/env bash
# Build the image $REGISTRY/$IMAGE_NAME:VERSION, for this machine and into its engine: scripts/build-docker.sh [VERSION [ARGUMENT …]]
# VERSION is that of pyproject.toml where it is left out; the other arguments go to docker, such as --build-arg PYTHON_IMAGE=….
# PUSH=true builds for all of $PLATFORMS and pushes, with an SBOM and the provenance.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

version=${1-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)}
shift "$(($# > 0))"
if [[ ! $version =~ ^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$ ]]; then
    echo "scripts/build-docker.sh: a version comes first, and '$version' cannot be the tag of an image" >&2
    exit 2
fi
image=${REGISTRY:-ghcr.io/your-org}/${IMAGE_NAME:-otlp-service}:$version
# By itself, because within the list below nobody would notice that git failed.
revision=${VCS_REF:-$(git rev-parse HEAD)}

arguments=(
    --tag "$image"
    --build-arg "VERSION=$version"
    --build-arg "VCS_REF=$revision"
    --build-arg "BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    "$@"
)

if [[ ${PUSH:-} == true ]]; then
    docker buildx build --platform "${PLATFORMS:-linux/amd64,linux/arm64}" --push --sbom=true --provenance=mode=max "${arguments[@]}" .
    echo "$image was pushed" >&2
elif docker buildx version >/dev/null 2>&1; then
    docker buildx build --load "${arguments[@]}" .
    docker image ls "$image"
else # an older docker, which has one platform's BuildKit in it
    DOCKER_BUILDKIT=1 docker build "${arguments[@]}" .
    docker image ls "$image"
fi
