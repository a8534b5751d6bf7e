"""Environments of mtrl. Importing this package registers tasks and suites, and their gymnasium ids.

It is cheap: no simulator is imported before an environment is built. `import mtrl.envs` first, or let gymnasium do
it: `gymnasium.make("mtrl.envs:MTRL/reach-v3")`.
"""

if __name__ != "mtrl.envs":
    raise ImportError("import this folder as mtrl.envs (pip install -e . first)")

from . import metaworld, suites, teaching

metaworld.register()
suites.register()
teaching.register()
