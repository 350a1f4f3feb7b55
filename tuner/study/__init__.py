"""The record of a study and its rules: plan, create, resume, claim, lease, budget, warm start."""
