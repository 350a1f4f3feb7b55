"""Run trials: sample, call the objective, record the outcome; heartbeat, mirror, tracking."""
