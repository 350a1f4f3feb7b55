"""Launchers start ``tuner worker <same overrides>`` a number of times, and nothing else."""
