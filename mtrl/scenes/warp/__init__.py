"""The warp engine: worlds of scenes on a GPU by mujoco_warp, or a few of them on the CPU by the same code.

Only `setup`, `kernels`, `physics`, `program`, `group` and `engine` import Warp, and the environment imports those when
it is built: without the extra `gpu` everything else of the package works.
"""
