"""Nightly training stage of a short-video analytics pipeline: read S3, train, publish immutable snapshots."""

__version__ = "0.1.0"
