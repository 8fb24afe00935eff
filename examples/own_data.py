"""Your own log as arrays: check it, train on it, act.

    python examples/own_data.py

The log is synthetic: a point on a line is pushed left or right, and rewarded for being near 0.
"""

import numpy as np

import holdfast


def make_log(episodes: int = 200, length: int = 20, seed: int = 0) -> dict[str, np.ndarray]:
    """Make the log of a poor controller, as flat columns of episodes * length rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(episodes):
        position = rng.uniform(-1, 1)
        for t in range(length):
            push = np.clip(-0.5 * position + rng.normal(scale=0.5), -1, 1)
            after = np.clip(position + 0.3 * push, -2, 2)
            rows.append((position, push, -abs(after), after, t == length - 1))
            position = after
    position, push, reward, after, last = (np.array(column) for column in zip(*rows, strict=True))
    return {
        "observations": position[:, None],
        "actions": push[:, None],
        "rewards": reward,
        "terminations": np.zeros(len(last), bool),  # an episode has no true end ...
        "truncations": last,  # ... but is cut off by the time limit
        "next_observations": after[:, None],
    }


def main(steps: int = 3000) -> float:
    """Train IQL on the log. Returns the mean distance from 0 at which its policy holds the point."""
    data = holdfast.Dataset.from_arrays(**make_log(), action_bounds=(-1.0, 1.0), id="point")
    for fault in holdfast.check(data):
        print(fault)
    run = holdfast.train("iql", data, steps=steps, preset="tuned_100k", config={"hidden": (64, 64)})
    policy = run.policy()
    position = np.linspace(-1, 1, 21)
    for _ in range(20):
        position = np.clip(position + 0.3 * policy(position[:, None])[:, 0], -2, 2)
    distance = float(np.abs(position).mean())
    print(f"mean return in the log {data.returns().mean():.2f}; the policy holds the point {distance:.3f} from 0")
    print(f"policy in {run.path / 'policy'}")
    return distance


if __name__ == "__main__":
    main()
