"""Tasks whose rules are functions of tensors: all worlds step in a few operations, on any device, without a simulator.

For tasks with known answers, and for a user's own that need no physics engine (`register_tensor_task`).
"""
