"""The larger commands: train, eval and predict, and the run folder that they share. `cli.py` is the front door."""
