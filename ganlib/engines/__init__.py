"""Engines run a study's trials; each calls `ganlib.study.run_trial` and nothing else."""
