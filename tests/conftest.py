"""What all tests share."""

import os

# Thousands of tiny runs would each start wandb's service; the tests of wandb itself take this back.
os.environ["WANDB_MODE"] = "disabled"
