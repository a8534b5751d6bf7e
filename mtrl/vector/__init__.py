"""Vector environments: the one contract that agents, evaluation and plots stand on, and what implements it.

The contract is in `mtrl.vector.contract`; `mtrl.vector.build.make_vector_env` builds one. This file imports nothing,
because worker processes pass through it and must not load torch.
"""
