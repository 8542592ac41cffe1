#!/usr/bin/env bash
# Try the deployment out from nothing, and leave nothing of it: an engine, base images, the project's images, the
# compose stack, one run triggered by REST. What was built stays in the engine. Ends with 0 only if every job has its
# snapshot and `down -v` left no container, volume or network.
#
#   DOCKER              engine client (the first one on the PATH that can use BuildKit)
#   CLIPFARM_IMAGE_TAG  tag of the images (check)
#   EXECUTOR            LocalExecutor, or CeleryExecutor: then with a worker, logs in the bucket and metrics to a
#                       collector (LocalExecutor)
#   VIDEOS              videos in the synthetic bucket (200)
#   and what docker/build.sh reads; TORCH_VARIANT is cpu here
set -euo pipefail
cd "$(dirname "$0")/.."

export CLIPFARM_IMAGE_TAG=${CLIPFARM_IMAGE_TAG:-check} TORCH_VARIANT=${TORCH_VARIANT:-cpu}
# A name of its own: a deployment on this machine keeps its containers and volumes.
export COMPOSE_PROJECT_NAME=clipfarm-check
EXECUTOR=${EXECUTOR:-LocalExecutor}
up_within_s=1200
work=$(mktemp --directory)

say() {
    echo "== $*"
}

fail() {
    echo "error: $*" >&2
    exit 1
}

finish() {
    local code=$?
    trap - EXIT
    [[ ! -s $work/env ]] || compose down --volumes --remove-orphans --timeout 20 >"$work/down.log" 2>&1 || code=1
    left=$(what_is_left)
    [[ -z $left ]] || { echo "error: expected nothing to be left, got: $left" >&2 && code=1; }
    if [[ -n ${engine:-} ]]; then
        kill "$engine" && wait "$engine" || true
    fi
    rm -rf "$work"
    say "exit code $code"
    exit "$code"
}

what_is_left() {
    local mine="label=com.docker.compose.project=$COMPOSE_PROJECT_NAME"
    [[ -n ${DOCKER:-} ]] || return 0
    "$DOCKER" ps --all --quiet --filter "$mine"
    "$DOCKER" volume ls --quiet --filter "$mine"
    "$DOCKER" network ls --quiet --filter "$mine"
}

# One client of several may lack its BuildKit plugin: the one that builds something is taken.
find_client() {
    local client probe smallest='FROM scratch\nLABEL clipfarm.check=1\n'
    for client in ${DOCKER:-$(type -ap docker)}; do
        if probe=$(echo -e "$smallest" | DOCKER_BUILDKIT=1 "$client" build --quiet - 2>&1); then
            "$client" rmi "$probe" >/dev/null
            DOCKER=$client
            export DOCKER
            return
        fi
    done
    fail "expected an engine client that can use BuildKit, got none of: ${DOCKER:-$(type -ap docker | xargs)}"
}

start_engine() {
    command -v dockerd >/dev/null || {
        say "installing the engine"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
            debootstrap docker-compose docker.io iptables >"$work/apt.log"
    }
    if ! docker info >/dev/null 2>&1; then
        say "starting the engine"
        dockerd >"$work/dockerd.log" 2>&1 &
        engine=$!
        for _ in $(seq 60); do
            ! docker info >/dev/null 2>&1 || return 0
            sleep 1
        done
        tail -n 5 "$work/dockerd.log" >&2
        fail "expected the engine to answer within 60 s, got nothing"
    fi
}

compose() {
    local command=(docker-compose)
    ! "$DOCKER" compose version >/dev/null 2>&1 || command=("$DOCKER" compose)
    [[ $EXECUTOR != CeleryExecutor ]] || command+=(--profile celery)
    "${command[@]}" --env-file "$work/env" --file docker-compose.yaml --file "$work/override.yaml" "$@"
}

# As a team starts, but on ports that nobody uses.
write_settings() {
    docker/new_env.sh "$work/env"
    printf '%s\n' AIRFLOW_PORT=0 S3_PORT=0 REDIS_PORT=0 >>"$work/env"
    # Unpausing would otherwise start the last nightly run before the one that is watched.
    cat >"$work/override.yaml" <<'END'
services:
  scheduler:
    environment:
      AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE: "False"
END
    [[ $EXECUTOR == CeleryExecutor ]] || return 0
    printf '%s\n' AIRFLOW_EXECUTOR=CeleryExecutor AIRFLOW_REMOTE_LOGGING=True AIRFLOW_OTEL_METRICS=True \
        OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318 OTEL_METRIC_EXPORT_INTERVAL=5000 >>"$work/env"
    # Counts what an OpenTelemetry collector would be sent.
    cat >>"$work/override.yaml" <<'END'
  collector:
    image: clipfarm-trainer:${CLIPFARM_IMAGE_TAG}
    command:
      - python
      - -c
      - |
        from http.server import BaseHTTPRequestHandler, HTTPServer
        class Collector(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.end_headers()
        HTTPServer(("0.0.0.0", 4318), Collector).serve_forever()
END
}

# `up --wait` is not in every release of compose: the engine knows which containers are not healthy yet.
wait_until_healthy() {
    local deadline=$((SECONDS + up_within_s)) waiting
    while true; do
        waiting=$("$DOCKER" ps --filter "label=com.docker.compose.project=$COMPOSE_PROJECT_NAME" \
            --format '{{.Names}} {{.Status}}' | grep --extended-regexp 'unhealthy|health: starting|Restarting' || true)
        [[ -n $waiting ]] || return 0
        ((SECONDS < deadline)) || {
            compose logs --tail 20
            fail "expected all healthy within $up_within_s s, got: $waiting"
        }
        sleep 3
    done
}

cli() {
    compose run --rm -T "$@"
}

trap finish EXIT
start_engine
find_client
say "engine $("$DOCKER" version --format '{{.Server.Version}}'), client $DOCKER"
say "base images"
docker/base_images.sh
say "images"
docker/build.sh >"$work/build.log" 2>&1 || { tail -n 30 "$work/build.log" >&2; fail "the images could not be built"; }
"$DOCKER" images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep "^clipfarm-.*:$CLIPFARM_IMAGE_TAG "
say "stack"
write_settings
compose up --detach
wait_until_healthy
compose ps
say "run"
cli cli sample --videos "${VIDEOS:-200}"
passwords=$(sed -n 's/^AIRFLOW_PASSWORDS=//p' "$work/env")
run_id=$(cli --entrypoint python -e ADMIN_PASSWORD="${passwords#admin:}" cli - <<'END'
import os, sys, time
from collections import Counter
from clipfarm_tasks.stack.airflow_client import FINISHED_RUN, AirflowClient
from clipfarm_tasks.stack.patience import Patience

dag = "clipfarm_training"
with AirflowClient("http://api-server:8080", "admin", os.environ["ADMIN_PASSWORD"]) as client:
    client.wait_for_dag(dag)
    sys.stderr.write(f"pools: {client.pools()}\n")
    client.unpause(dag)
    run = client.trigger(dag)
    patience = Patience()
    while (state := client.run_state(dag, run)) not in FINISHED_RUN and not patience.is_lost(client.tasks(dag, run)):
        time.sleep(2)
    tasks = client.tasks(dag, run)
    sys.stderr.write(f"{run}: {state}, {len(tasks)} tasks: {dict(Counter(task.state for task in tasks))}\n")
    logs = [client.log(dag, run, task.task_id, task.try_number) for task in tasks if task.try_number]
    stored = sum("s3://clipfarm/airflow/logs/" in str(log) for log in logs)
    sys.stderr.write(f"logs by REST: {len(logs)} of tasks, {sum(map(len, logs))} lines, {stored} from the bucket\n")
    if state != "success" or not all(logs):
        raise SystemExit(f"expected success and logs of all tasks, got {state}, in {dag} {run}")
    sys.stdout.write(client.returned(dag, run, "resolve_run")["run_id"])
END
)
cli cli show "$run_id"
if [[ $EXECUTOR == CeleryExecutor ]]; then
    cli --entrypoint python cli - <<'END'
import os, boto3

listing = boto3.client("s3").list_objects_v2(Bucket=os.environ["CLIPFARM_BUCKET"], Prefix="airflow/logs/")
print(f"logs in the bucket: {listing['KeyCount']}, e.g. {listing['Contents'][0]['Key']}")
END
    metrics=$(compose logs collector 2>&1 | grep --count 'POST /v1/metrics') || fail "expected metrics, got none"
    echo "metrics sent to the collector: $metrics times"
fi
say "down"
