"""What is wrong with a bundle, in words that say what to do."""


class BundleError(Exception):
    """The bundle may not be used; the message says why."""
