"""What a deployment sets: pods, pools, alerts, the trigger form. DAG files read it when parsed: it is cheap."""
