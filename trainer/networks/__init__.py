"""Pre-trained backbones, heads and losses, and how they are trained."""
