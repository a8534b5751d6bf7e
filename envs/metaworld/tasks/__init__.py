"""The 50 tasks as batched torch functions, one module a family; `sawyer.py` holds what all of them share."""
