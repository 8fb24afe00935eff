"""Three expectiles times two seeds of IQL in one compiled program, on the log that ships with the package.

python examples/sweep.py
"""

import holdfast


def main(steps: int = 5000) -> dict[str, float]:
    """Train, and return the mean return of each replica by its name."""
    run = holdfast.train(
        "iql",
        "bundled/pendulum-mixed",
        preset="tuned_100k",
        steps=steps,
        seeds=2,
        sweep={"expectile": [0.5, 0.7, 0.9]},
        eval_every=steps,
    )
    means = {name: sum(r) / len(r) for name, r in zip(run.result["replicas"], run.result["returns"], strict=True)}
    for name, mean in means.items():
        print(f"{name:<24} {mean:8.1f}")
    return means


if __name__ == "__main__":
    main()
