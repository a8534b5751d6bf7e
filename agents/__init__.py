"""agents of mtrl."""

if __name__ != "mtrl.agents":
    raise ImportError("import this folder as mtrl.agents (pip install -e . first)")
