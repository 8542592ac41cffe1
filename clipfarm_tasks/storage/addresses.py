"""Which keys S3's clients can address: not every one that S3 can hold."""


def is_addressable(key: str) -> bool:
    """Whether obstore can name the object: no empty, ``.`` or ``..`` segment, no control character."""
    segments = key.strip("/").split("/")  # a slash at either end is not part of the address
    return all(segment not in {"", ".", ".."} and segment.isprintable() for segment in segments)
