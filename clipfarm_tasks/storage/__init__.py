"""S3: objects, retries, documents, atomic publication. The bucket itself is imported from here."""

from clipfarm_tasks.storage.store import Fetched, ObjectInfo, Store, open_store

__all__ = ["Fetched", "ObjectInfo", "Store", "open_store"]
