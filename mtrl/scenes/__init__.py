"""Tasks on MuJoCo scenes, stepped in batches: what a task declares, how its starts are made, and the native engine.

A task is a scene, named views into its state, a start, and rules: batched torch functions for action, observation,
reward and success. Rules never see an engine, so one definition serves them all. docs/engines.md explains the parts.
"""
