"""A file a command: its options, its call, its print."""
