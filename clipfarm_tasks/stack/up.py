"""``make up``: the same stack, staying up until Ctrl-C, its state kept from one time to the next."""

import shlex
import time
from pathlib import Path

from rich.console import Console

from clipfarm_tasks import keys
from clipfarm_tasks.stack.airflow_server import USER, AirflowServer
from clipfarm_tasks.stack.demo import store_of, write_sample_of
from clipfarm_tasks.stack.private_file import write_private
from clipfarm_tasks.stack.seaweed import SeaweedServer

BUCKET = "clipfarm"
_POLL_S = 1.0


def up(folder: Path, console: Console, videos: int) -> None:
    """Serve until interrupted.

    Args:
        folder: where both servers keep their state.
        console: where addresses and credentials are shown.
        videos: size of the synthetic bucket that is written when the bucket has no metadata.

    Raises:
        StackError: a server did not come up or has stopped by itself.
    """
    with SeaweedServer(folder / "s3", BUCKET) as s3:
        store = store_of(s3)
        if store.head(keys.METADATA_CSV) is None:  # written last, so an interrupted sample is written again
            write_sample_of(store, videos, console)
        console.print("Starting Airflow ...", highlight=False)
        with AirflowServer(folder / "airflow", s3.environment()) as airflow:
            exports = _write_exports(folder / "s3.env", s3.environment())
            console.print(
                f"Airflow UI   {airflow.url}\n"
                f"user         {USER}\n"
                f"password     {airflow.password()}\n"
                f"S3 endpoint  {s3.endpoint_url}, bucket {BUCKET}\n"
                f"In the UI, unpause clipfarm_training and trigger it; unpausing also starts the last nightly run.\n"
                f"In another terminal, to use the bucket from the command line:\n"
                f"  cd {shlex.quote(str(Path.cwd()))} && . .venv/bin/activate && . {shlex.quote(str(exports))}\n"
                f"Ctrl-C stops both servers.",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            while True:
                airflow.require_running()
                s3.process.require_running()
                time.sleep(_POLL_S)


def _write_exports(path: Path, environment: dict[str, str]) -> Path:
    """Shell lines with the key pair."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in environment.items()]
    return write_private(path, "".join(lines))
