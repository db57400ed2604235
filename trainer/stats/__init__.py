"""How good scores are, how sure that is, and which threshold follows."""
