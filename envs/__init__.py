"""envs of mtrl."""

if __name__ != "mtrl.envs":
    raise ImportError("import this folder as mtrl.envs (pip install -e . first)")
