"""From labelled images to a bundle that the edge agent runs."""
