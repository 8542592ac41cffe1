#!/usr/bin/env bash
# Write .env, or the file that is named, from .env.example: the tag of this checkout's images, and every secret drawn.
#
#   CLIPFARM_IMAGE_TAG  tag (the first 12 digits of the commit, as docker/build.sh has it)
set -euo pipefail
cd "$(dirname "$0")/.."

target=${1:-.env}
tag=${CLIPFARM_IMAGE_TAG:-$(git describe --always --dirty --abbrev=12 --match=)}
[[ ! -e $target ]] || {
    echo "error: expected no file, got one, in $target: a database with its passwords may exist" >&2
    exit 1
}

# Arguments: bytes. Letters, digits, _ and -, and = at the end.
draw() {
    head --bytes "$1" /dev/urandom | base64 --wrap 0 | tr '+/' '-_'
}

umask 077
while IFS= read -r line; do
    case $line in
        CLIPFARM_IMAGE_TAG=) line+=$tag ;;
        AIRFLOW_FERNET_KEY=) line+=$(draw 32) ;;
        AIRFLOW_PASSWORDS=) line+=admin:$(draw 18) ;;
        [A-Z]*=) line+=$(draw 48) ;;
    esac
    echo "$line"
done <.env.example >"$target"
echo "$target: secrets drawn; the password of admin is in AIRFLOW_PASSWORDS"
