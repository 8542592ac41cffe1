"""Pure: frames, arrays and bytes in; frames, arrays and records out. No S3, no clock, no Airflow."""
