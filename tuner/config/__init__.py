"""The only door to Hydra: compose configurations, parse overrides, check and instantiate."""
