"""``edge-agent bench``: the daemon whole, beside the bare loop that nothing can be faster than."""
