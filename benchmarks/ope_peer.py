"""Estimates of d3rlpy and SCOPE-RL for one policy, in a separate process with another interpreter.

`python ope_peer.py LOG.npz` prints one line of JSON: the value of each estimator. `ope.py` writes the file: the log and
what the policy does in it.

d3rlpy evaluates the discounted return, with its own settings. SCOPE-RL takes d3rlpy's values as its model, as its own
examples do, and the same propensities as Holdfast.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

import numpy as np

GAMMA = 0.99  # of d3rlpy: its fitted Q evaluation has no horizon, so the discount is below 1


class Table:
    """Stands in for an algorithm of d3rlpy: its actions are looked up by observation."""

    def __init__(self, log: dict[str, np.ndarray]) -> None:
        self.rows = {row.tobytes(): i for i, row in enumerate(log["observations"])}
        self.discrete = "probabilities" in log
        self.log = log
        self.rng = np.random.default_rng(0)
        self.impl = self

    def predict_best_action(self, observations: Any) -> Any:
        """The policy's actions, drawn from its probabilities if it has them."""
        import torch

        # after the end of an episode d3rlpy has a row of zeros, whose action has no effect
        at = np.array([self.rows.get(row.tobytes(), 0) for row in observations.numpy()])
        if not self.discrete:
            return torch.from_numpy(self.log["actions"][at])
        edges = self.log["probabilities"][at].cumsum(1)
        drawn = (self.rng.random((len(at), 1)) * edges[:, -1:] > edges).sum(1)
        return torch.from_numpy(drawn)


def fitted(log: dict[str, np.ndarray], updates: int) -> dict[str, Any]:
    """d3rlpy's fitted Q evaluation: the mean value of the first states, and the values [M, A] of discrete actions."""
    import d3rlpy
    import structlog

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    d3rlpy.seed(0)
    starts = log["offsets"][:-1] + np.arange(len(log["offsets"]) - 1)  # rows of the first observations
    last = np.delete(np.arange(len(log["observations"])), log["offsets"][1:] + np.arange(len(starts)))
    ends = np.zeros(len(log["rewards"]), bool)
    ends[log["offsets"][1:] - 1] = True
    terminal = ends & np.repeat(log["terminated"], np.diff(log["offsets"]))
    taken = log["taken"][:, None] if log["taken"].ndim == 1 else log["taken"]
    dataset = d3rlpy.dataset.MDPDataset(
        observations=log["observations"][last], actions=taken, rewards=log["rewards"].astype(np.float32),
        terminals=terminal.astype(np.float32), timeouts=(ends & ~terminal).astype(np.float32),
    )  # fmt: skip
    table = Table(log)
    kind = d3rlpy.ope.DiscreteFQE if table.discrete else d3rlpy.ope.FQE
    evaluator = kind(algo=table, config=d3rlpy.ope.FQEConfig(gamma=GAMMA))
    evaluator.build_with_dataset(dataset)
    for _ in range(updates):
        evaluator.update(dataset.sample_transition_batch(evaluator.config.batch_size))
    first = log["observations"][starts]
    if not table.discrete:
        return {"value": float(evaluator.predict_value(first, log["actions"][starts]).mean())}
    count = log["probabilities"].shape[1]
    every = [evaluator.predict_value(log["observations"], np.full(len(log["observations"]), a)) for a in range(count)]
    values = np.stack(every, 1)
    mean = float((values * log["probabilities"]).sum(1)[starts].mean())
    return {"value": mean, "values": values}


def weighted(log: dict[str, np.ndarray], values: np.ndarray) -> dict[str, float]:
    """SCOPE-RL's estimators of discrete actions; episodes get one length by steps without a reward or a weight."""
    from scope_rl.ope.discrete import basic_estimators as estimators

    lengths = np.diff(log["offsets"])
    steps, count = int(lengths.max()), log["probabilities"].shape[1]
    shape = (len(lengths), steps)
    inside = np.arange(steps) < lengths[:, None]
    of_step = np.repeat(np.arange(len(lengths)), lengths) + np.arange(lengths.sum())  # row of the observation of a step

    def padded(column: np.ndarray, filler: float) -> np.ndarray:
        found = np.full((*shape, *column.shape[1:]), filler, column.dtype)
        found[inside] = column
        return found.reshape(-1, *column.shape[1:])

    uniform = 1 / count  # after an end both policies choose alike, so that the weights stay what they are
    given: dict[str, Any] = {
        "step_per_trajectory": steps,
        "action": padded(log["taken"].astype(int), 0),
        "reward": padded(log["rewards"].astype(float), 0.0),
        "pscore": padded(log["propensity"].astype(float), uniform),
        "evaluation_policy_action_dist": padded(log["probabilities"][of_step].astype(float), uniform),
        "gamma": 1.0,
    }
    modelled = {**given, "state_action_value_prediction": padded(values[of_step].astype(float), 0.0)}
    return {
        "pdis": estimators.PerDecisionImportanceSampling().estimate_policy_value(**given),
        "wis": estimators.SelfNormalizedTIS().estimate_policy_value(**given),
        "sn_pdis": estimators.SelfNormalizedPDIS().estimate_policy_value(**given),
        "dr": estimators.DoublyRobust().estimate_policy_value(**modelled),
        "wdr": estimators.SelfNormalizedDR().estimate_policy_value(**modelled),
    }


def main() -> None:
    """Print the estimates of the file."""
    warnings.simplefilter("ignore")
    with np.load(sys.argv[1], allow_pickle=False) as file:
        log = {name: file[name] for name in file.files}
    found = fitted(log, int(log["updates"]))
    result = {"d3rlpy fqe": found["value"]}
    if "propensity" in log:
        result |= {f"scope-rl {name}": float(value) for name, value in weighted(log, found["values"]).items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
