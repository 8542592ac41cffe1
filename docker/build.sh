#!/usr/bin/env bash
# Build the images airflow, worker and trainer from this checkout, as clipfarm-<image>:<tag>.
#
#   DOCKER              engine client (docker); it must be able to use BuildKit
#   BASE_IMAGE          Python image to build on (the one docker/Dockerfile pins)
#   CLIPFARM_IMAGE_TAG  tag (the first 12 digits of the commit)
#   TORCH_VARIANT       cuda, or the label of another build of torch, such as cpu (cuda)
#   PIP_INDEX_URL, PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS, PIP_CERT, PIP_DEFAULT_TIMEOUT  as pip reads them; no layer keeps
#                       them. A folder in PIP_FIND_LINKS is served to the build on loopback.
set -euo pipefail
cd "$(dirname "$0")/.."

commit=$(git describe --always --dirty --abbrev=40 --match=)
tag=${CLIPFARM_IMAGE_TAG:-$(git describe --always --dirty --abbrev=12 --match=)}
secrets=$(mktemp --directory)
options=()

cleanup() {
    [[ -z ${server:-} ]] || kill "$server"
    rm -rf "$secrets"
}
trap cleanup EXIT

# A container cannot see a folder of this machine: on the host's network it reaches a server on loopback.
serve_wheels() {
    : >"$secrets/served" # read below, perhaps before the server opens it
    python3 -u -m http.server --bind 127.0.0.1 --directory "$1" 0 >"$secrets/served" 2>"$secrets/requests" &
    server=$!
    for _ in $(seq 50); do
        port=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$secrets/served")
        [[ -z $port ]] || break
        sleep 0.1
    done
    options+=(--network host)
    PIP_FIND_LINKS="http://127.0.0.1:${port:?expected a server of the wheels within 5 s, got none}/"
}

[[ ! -d ${PIP_FIND_LINKS:-} ]] || serve_wheels "$PIP_FIND_LINKS"
{
    echo "[global]"
    for name in INDEX_URL EXTRA_INDEX_URL FIND_LINKS DEFAULT_TIMEOUT; do
        value="PIP_$name"
        key=${name,,}
        [[ -z ${!value:-} ]] || echo "${key//_/-} = ${!value}"
    done
    [[ -z ${PIP_CERT:-} ]] || echo "cert = /run/secrets/ca_certificates"
} >"$secrets/pip_conf"
options+=(--secret "id=pip_conf,src=$secrets/pip_conf")
[[ -z ${PIP_CERT:-} ]] || options+=(--secret "id=ca_certificates,src=$PIP_CERT")
[[ -z ${BASE_IMAGE:-} ]] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")

for image in airflow worker trainer; do
    DOCKER_BUILDKIT=1 "${DOCKER:-docker}" build --file docker/Dockerfile --target "$image" \
        --build-arg "GIT_SHA=$commit" --build-arg "VERSION=$tag" --build-arg "TORCH_VARIANT=${TORCH_VARIANT:-cuda}" \
        --tag "clipfarm-$image:$tag" "${options[@]}" .
done
