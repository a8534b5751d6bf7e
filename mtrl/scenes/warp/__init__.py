"""The warp engine: worlds of scenes on a GPU by mujoco_warp, or a few of them on the CPU by the same code.

Nothing here imports mujoco_warp when it is imported itself, except `kernels`, `group` and `engine`, which the environment
builds: without the extra `gpu` everything else of the package works.
"""
