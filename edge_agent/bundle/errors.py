"""What is wrong with a bundle, or with an image, in words that say what to do."""


class BundleError(Exception):
    """The bundle may not be used; the message says why."""


class DecodeError(ValueError):
    """The bytes are not an image that may be judged; the message says why."""


class TruncatedError(DecodeError):
    """By what its own format says, a part of the file is missing: the rest may still come."""

    def __init__(self, message: str) -> None:
        super().__init__(f"damaged or truncated: {message}")


class DamagedError(DecodeError):
    """The file contradicts itself, or its format."""

    def __init__(self, message: str) -> None:
        super().__init__(f"damaged or truncated: {message}")


class TooLargeError(DecodeError):
    """The image has more pixels than may be decoded."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"{width} x {height} pixels is more than the limit of {limit}: raise it to "
            f"{width * height} (--max-pixels; at a station max_pixels in [worker])"
        )
