"""What all tests share."""

import os

import mtrl  # noqa: F401 - chooses MuJoCo's renderer, before a test imports MuJoCo

# Thousands of tiny runs would each start wandb's service; the tests of wandb itself take this back.
os.environ["WANDB_MODE"] = "disabled"
