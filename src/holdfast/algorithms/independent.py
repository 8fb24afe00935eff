"""Independent learners: any method for one agent, for every agent of a team.

Each agent learns from its own observations, actions and rewards, as if the others were part of the environment.
`independent` makes a method for the team from the method for one agent. Its state is the states of all agents. If the
agents have the same shapes, one `vmap` over agents computes all their updates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp

from ..core.contract import Algorithm, Context, Phase, Refreshed
from ..core.errors import UserError
from ..core.noise import Noise
from ..core.spec import Batch, Cfg, Memory, Mode, Seen, Spec, State, Step
from ..core.team import Team
from ..core.trained import Metrics
from ..core.tree import Tree
from .assembled import acting


def independent(algorithm: Algorithm, team: Team) -> Algorithm:
    """The method for a team whose agents learn independently with `algorithm`.

    Args:
        algorithm: a method for one agent that learns from rows alone, see `require_rows_alone`.
        team: the agents.
    """
    alike = team.alike

    def init(cfg: Cfg, ctx: Context, noise: Noise) -> State:
        members = zip(ctx.members, team.names, strict=True)
        return joined([algorithm.init(cfg, own, noise.sub(name)) for own, name in members], alike)

    def each(update: Callable[..., tuple[State, Metrics]]) -> Callable[..., tuple[State, Metrics]]:
        """The update of one agent as the update of all."""

        def every(cfg: Cfg, state: State, rows: Batch | tuple[Batch, ...], noise: Noise, step: Step) -> Any:
            batches = split(rows, team) if isinstance(rows, Batch) else rows
            noises = [noise.sub(name) for name in team.names]
            if alike:
                over = (None, 0, 0, 0, None)
                given = (cfg, state, joined(batches, True), joined(noises, True), step)
                state, metrics = jax.vmap(update, over)(*given)
                return state, named({name: member(metrics, i, True) for i, name in enumerate(team.names)})
            each_own = zip(state, batches, noises, strict=True)
            found = [update(cfg, own, batch, draws, step) for own, batch, draws in each_own]
            metrics = {name: one[1] for name, one in zip(team.names, found, strict=True)}
            return tuple(one[0] for one in found), named(metrics)

        return every

    def entering(enter: Callable[..., State]) -> Callable[..., State]:
        def every(cfg: Cfg, state: State, ctx: Context, noise: Noise) -> State:
            members = enumerate(zip(ctx.members, team.names, strict=True))
            return joined([enter(cfg, member(state, i, alike), own, noise.sub(n)) for i, (own, n) in members], alike)

        return every

    def refreshing(refresh: Callable[..., Refreshed]) -> Callable[..., Refreshed]:
        def every(
            cfg: Cfg, state: State, sources: Mapping[str, Any], ctx: Context, noise: Noise, step: Step
        ) -> Refreshed:
            found = []
            for i, (own, name) in enumerate(zip(ctx.members, team.names, strict=True)):
                rows = {source: members.sources[i] for source, members in sources.items()}
                found.append(refresh(cfg, member(state, i, alike), rows, own, noise.sub(name), step))
            columns = {name: tuple(cast(jax.Array, one.columns[name]) for one in found) for name in found[0].columns}
            metrics = {name: one.metrics for name, one in zip(team.names, found, strict=True)}
            return Refreshed(joined([one.state for one in found], alike), columns, {}, named(metrics))

        return every

    def stopping(until: Callable[[Cfg, State], jax.Array]) -> Callable[[Cfg, State], jax.Array]:
        def every(cfg: Cfg, state: State) -> jax.Array:
            return jnp.stack([until(cfg, member(state, i, alike)) for i in range(len(team.names))]).all()

        return every

    def of_all(phases: Sequence[Phase]) -> tuple[Phase, ...]:
        return tuple(
            phase._replace(
                update=each(phase.update or algorithm.update),  # type: ignore[arg-type]
                enter=phase.enter and entering(phase.enter),
                refresh=phase.refresh and refreshing(phase.refresh),
                until=phase.until and stopping(phase.until),
            )
            for phase in phases
        )

    def phases(cfg: Cfg) -> tuple[Phase, ...]:
        return of_all(algorithm.phases(cfg))

    def online(cfg: Cfg) -> tuple[Phase, ...]:
        return of_all(algorithm.online(cfg))  # type: ignore[misc]

    def act(
        cfg: Cfg, state: State, seen: Seen, memory: Memory, noise: Noise, mode: Mode
    ) -> tuple[jax.Array, tuple[Memory, ...]]:
        def one(i: int, own: Seen, kept: Memory, draws: Noise) -> tuple[jax.Array, Memory]:
            return algorithm.act(cfg, member(state, i, alike), own, kept, draws, mode)

        return acting(team, one, seen, memory, noise)

    def memory(cfg: Cfg, spec: Spec, n: int) -> tuple[Memory, ...]:
        return tuple(algorithm.memory(cfg, own, n) for own in team.specs)

    def alone(cfg: Cfg, state: State, i: int) -> tuple[Algorithm, State]:
        return algorithm, member(state, i, alike)

    return algorithm._replace(
        init=init, act=act, memory=memory, phases=phases, member=alone, dist=None, value=None, filter=None,
        online=algorithm.online and online, finetune=None,
    )  # fmt: skip


def split(rows: Batch, team: Team) -> tuple[Batch, ...]:
    """Collected rows of joint observations and actions as the rows of each agent. All agents share the reward."""
    parts = zip(team.observations(rows.obs), team.actions(rows.action), team.observations(rows.next_obs), strict=True)
    return tuple(
        Batch(**{**vars(rows), "obs": obs, "action": action, "next_obs": next_obs}) for obs, action, next_obs in parts
    )


def require_rows_alone(algorithm: Algorithm, phases: Sequence[Phase]) -> None:
    """Refuse a method that needs more than the rows of an agent.

    Args:
        algorithm: a method for one agent.
        phases: its phases on logged data; empty: it learns in an environment.

    Raises:
        UserError: it follows a return, reads policies of other runs, or writes or collects rows.
    """
    needs = []
    needs += ["is asked for a return"] if algorithm.target is not None else []
    needs += ["reads policies of other runs"] if algorithm.inputs else []
    needs += ["learns a model of the environment"] if algorithm.dynamics is not None else []
    needs += ["collects rows"] if any(phase.collect or phase.rings for phase in phases) else []
    if needs:
        raise UserError(
            f"{algorithm.name} {' and '.join(needs)}, which independent learners cannot do: use a method that learns "
            "from rows alone, e.g. td3_bc, bcq, iql or discrete_cql"
        )


def joined(trees: Sequence[Tree], alike: bool) -> Any:
    """The trees of all agents: leaves [N, ...] if the agents have the same shapes, else a tuple."""
    return jax.tree.map(lambda *x: jnp.stack(x), *trees) if alike else tuple(trees)


def member(tree: Tree, i: int, alike: bool) -> Any:
    """The tree of agent i, from what `joined` gives."""
    return jax.tree.map(lambda x: x[i], tree) if alike else tree[i]


def named(metrics: Mapping[str, Metrics]) -> Metrics:
    """The metrics of all agents, as `agent/metric`."""
    return {f"{agent}/{name}": value for agent, own in metrics.items() for name, value in own.items()}
