"""The folder of a run: what every recipe puts there, and what is made of it again."""
