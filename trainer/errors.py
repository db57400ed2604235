"""What the one who trains can mend."""


class UsageError(Exception):
    """A setting, a file or the disk is not as it must be; the message says what to do."""


class ParityError(Exception):
    """An exported graph does not say what the PyTorch module says: a bug or a broken runtime."""
