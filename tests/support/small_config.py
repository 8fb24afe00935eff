"""The settings of any algorithm with small networks and batches, so that its programs compile in seconds."""

import dataclasses

from holdfast.core.config import over_the_run

# sizes of learned models and of what is done in them
MODELS = {"rollout_batch": 20, "members": 3, "elites": 2, "adversary_steps": 3, "paths": 2, "length": 6}
# counts of draws and steps within an update or an action
COUNTS = {"passes": 4, "acting_candidates": 5, "flow_steps": 3}
# sizes of sequence models
SEQUENCES = {"width": 8, "heads": 2, "layers": 1, "context": 4, "acting_context": 3, "max_timestep": 10}


def small(cfg):
    """The same settings with small networks and batches."""
    names = {f.name for f in dataclasses.fields(cfg)}
    sizes = {name: (8,) for name in names if name.endswith("hidden")}
    sizes |= {name: size for name, size in (SEQUENCES | COUNTS).items() if name in names}
    sizes |= {name: n for name, n in MODELS.items() if hasattr(cfg, name)}
    return over_the_run(dataclasses.replace(cfg, **sizes, batch_size=16), 50)
