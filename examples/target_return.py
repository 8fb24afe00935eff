"""Ask one policy for several returns: a Decision Transformer, in several environments at once.

    python examples/target_return.py

Prints the return that each environment asked for and the return that it got. The policy needs the reward of the step
before, from which it knows what is left of the return. It is trained for a minute or two, so it follows roughly.
"""

import gymnasium
import numpy as np

import holdfast

SIZES = {"width": 32, "layers": 2, "context": 10, "actor_lr": 1e-3, "warmup_updates": 100.0}


def main(steps: int = 2_000) -> list[tuple[float, float]]:
    run = holdfast.train("decision_transformer", "bundled/pendulum-mixed", steps=steps, config=SIZES, evaluate=False)
    policy = run.policy()
    targets = np.array([-150.0, -500.0, -1000.0, -1500.0])
    envs = gymnasium.make_vec("Pendulum-v1", num_envs=len(targets), vectorization_mode="sync")
    obs, _ = envs.reset(seed=0)
    memory, reward, reached = None, None, np.zeros(len(targets))
    for _ in range(200):  # all episodes of Pendulum have 200 steps
        action, memory = policy.act(obs, memory, reward=reward, target_return=targets)
        obs, reward, _, _, _ = envs.step(action)
        reached += reward
    envs.close()
    pairs = [(float(asked), float(got)) for asked, got in zip(targets, reached, strict=True)]
    for asked, got in pairs:
        print(f"asked for {asked:7.0f}, got {got:7.0f}")
    return pairs


if __name__ == "__main__":
    main()
