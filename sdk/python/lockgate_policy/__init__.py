"""Policies for Lockgate, written in Python.

A policy is a module `policy.py` of plain functions beside a `plugin.toml`: `recommend`, `optimize`, `score` and `plan`
take (config, tick, ladder, viewer or source, memo), `authorize` takes (config, request). What is unknown is None, never
zero. `python -m lockgate_policy PROJECT -o OUT.wasm` builds it; `Glue(manifest_of(PROJECT), policy).ask(…)` tests it.
"""

from .guest import Glue, Ladder, Memo, Tick
from .manifest import manifest_of

__all__ = ["Glue", "Ladder", "Memo", "Tick", "manifest_of"]
