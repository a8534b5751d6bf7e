"""mtrl: multi-task and meta reinforcement learning on the Meta-World manipulation tasks."""

__version__ = "0.1.0"
