import os
import uuid

import pytest

from clipfarm_tasks.config import Settings
from clipfarm_tasks.sample.write import write_sample
from clipfarm_tasks.storage import open_store
from tests.eventually import PATIENCE_S
from tests.warm_python import run_warm


@pytest.fixture(scope="session")
def command(repository, s3_server, tmp_path_factory):
    """Run ``python -m clipfarm_tasks`` in a process of its own: ``command(*arguments, **environment)``."""
    home = tmp_path_factory.mktemp("home")

    def call(*arguments, **environment):
        env = os.environ | s3_server.environment() | {"PYTHONPATH": str(repository), "COLUMNS": "200"} | environment
        environment = {name: value for name, value in env.items() if value is not None}
        # Nothing may depend on where it is started.
        return run_warm(["-m", "clipfarm_tasks", *arguments], environment, home, PATIENCE_S)

    return call


@pytest.fixture(scope="session")
def sample_bucket(s3_server, s3_session):
    """Name of a bucket with a sample of 60 videos."""
    name = f"cli-{uuid.uuid4().hex[:12]}"
    s3_server.client().create_bucket(Bucket=name)
    settings = Settings.from_environment(s3_server.environment() | {"CLIPFARM_BUCKET": name})
    write_sample(open_store(settings, s3_session), videos=60, width=16)
    yield name
    s3_server.client().delete_bucket(Bucket=name)
