"""The one-machine stack behind ``make demo``, ``make up`` and the integration tests: a real S3 server and Airflow."""
