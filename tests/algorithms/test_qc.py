"""Chunks of actions, QC-FQL and QC against numbers worked by hand (float64)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from holdfast import UserError
from holdfast.algorithms import qc, qc_fql, registry
from holdfast.core.contract import Chunks, Context, Treatment
from holdfast.core.noise import Tape
from holdfast.core.spec import Batch, Seen, Spec
from holdfast.data.dataset import Dataset
from holdfast.data.feed import buffer, columns, readers, row_sources, treatment
from holdfast.parts import chunks, flows
from holdfast.parts.critics import mean_squared_error
from holdfast.training.plan.refusals import require_episodes
from support.formulas import NOISE, array, critics, linear, same

pytestmark = pytest.mark.usefixtures("x64")


def episodes(*lengths, terminated=True):
    """Episodes whose observation is their number times 10 plus the step, whose action is a tenth of the step."""
    found = []
    for number, n in enumerate(lengths):
        last = np.arange(n) == n - 1
        found.append({
            "observations": 10 * number + np.arange(n + 1, dtype=np.float32)[:, None],
            "actions": np.arange(n, dtype=np.float32)[:, None] / 10,
            "rewards": 1.0 + np.arange(n),
            "terminations": last & terminated,
            "truncations": last & (not terminated),
        })  # fmt: skip
    return Dataset.from_episodes(found, action_bounds=(-1.0, 1.0))


def drawn(data, index, length):
    made = columns.prepare(data, treatment.fit(Treatment(), data))
    return jax.jit(lambda made: readers.chunks(made, jnp.asarray(index), length))(jax.tree.map(jnp.asarray, made))


def test_chunks_of_columns():
    """Rows 0 ... 3 are an episode, 4 and 5 another: a chunk ends with its episode and repeats the last step."""
    found = drawn(episodes(4, 2), [0, 2, 4], 3)
    same(found.obs[..., 0], np.array([[0, 1, 2], [2, 3, 3], [10, 11, 11]], np.float32))
    assert found.valid.tolist() == [[True] * 3, [True, True, False], [True, True, False]]
    same(found.next_obs[0, :, 0], np.array([1, 2, 3], np.float32))
    assert found.terminated.tolist() == [[0, 0, 0], [0, 1, 1], [0, 1, 1]]
    assert drawn(episodes(4, 2, terminated=False), [2], 3).valid.tolist() == [[True, True, False]]


def test_chunks_of_a_ring():
    """They end at a time limit and at the newest row, also where the ring wraps around."""
    data = episodes(4, 3, terminated=False)
    made = jax.tree.map(jnp.asarray, columns.prepare(data, treatment.fit(Treatment(), data)))

    @jax.jit
    def both(made):
        rows = row_sources.rows(made, jnp.arange(7))
        ring = buffer.empty(jax.tree.map(lambda x: x[0], rows), 5, 1)
        for i in range(7):
            ring = buffer.add(ring, jax.tree.map(lambda x, i=i: x[i : i + 1], rows), jnp.ones(1, bool))
        index = jnp.argmax(ring.rows.obs == jnp.array([[2.0, 10.0, 11.0]]), 0)
        return readers.chunks(ring, index, 3)

    found = both(made)
    assert found.valid.tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert found.obs[1, :, 0].tolist() == [10, 11, 12]


def test_chunks_as_transitions():
    """Rewards 1, 2 at a discount of .9; the bootstrap is .81; the second chunk is not complete."""
    batch = drawn(episodes(4), [0, 3], 2)
    join = jax.jit(chunks.joined)
    whole, complete = join(batch, 0.9)
    same(whole.reward[0], 1 + 0.9 * 2, rtol=1e-6)
    same(whole.discount, np.array([0.9, 0.9], np.float32), rtol=1e-6)
    same(whole.obs[0], np.array([0], np.float32))
    same(whole.next_obs[0], np.array([2], np.float32))
    same(whole.action[0], np.array([0, 0.1], np.float32))
    assert complete.tolist() == [1, 0]
    assert chunks.kept(batch).tolist() == [[1, 1], [1, 0]]
    logged = Batch(**{**vars(batch), "extra": {**batch.extra, "discount": jnp.array([[0.5, 0.25], [1, 1.0]])}})
    whole, _ = join(logged, 0.9)
    same(whole.reward[0], 1 + 0.45 * 2, rtol=1e-6)
    same(0.9 * whole.discount[0], 0.45 * 0.225, rtol=1e-6)


def test_a_chunk_is_carried_out_before_the_next():
    memory = chunks.memory(Spec((1,), 1), 2, 3)
    taken = []
    for step in range(7):
        new = 10.0 * step + jnp.arange(3)[None] * jnp.ones((2, 1))
        action, memory = chunks.carried_out(memory, new)
        taken.append(action[:, 0].tolist())
        if step == 4:  # the second environment starts an episode
            memory = {**memory, "left": memory["left"].at[1].set(0)}
    assert [one for one, _ in taken] == [0, 1, 2, 30, 31, 32, 60]
    assert [other for _, other in taken] == [0, 1, 2, 30, 31, 50, 51]
    with pytest.raises(TypeError, match="memory"):
        chunks.carried_out((), jnp.zeros((2, 3)))


def test_a_chunk_that_passes_the_end_changes_no_critic():
    """The loss is a mean over all rows; a row of weight 0 counts in the mean only."""
    critic = critics([1, 1, 1], [2, -1, 0])
    rows = Batch(array([1], [2]), array([0.5, 0.5], [0, 1]), array(0, 0), array([0], [0]), array(0, 0), array(0, 0))

    @jax.jit
    def found(y):
        def loss(y):
            return mean_squared_error(critic, y, rows, array(1, 0))[0]

        return jax.value_and_grad(loss)(y)

    loss, slope = found(array(1, 5))
    same(loss, ((1 + 1 - 1) ** 2 + (2 - 0.5 - 1) ** 2) / 4)
    assert slope[1] == 0 != slope[0]


def sequence():
    """Two chunks of two steps at s = 1, 2; the second ends within."""
    obs = array([[1], [2]], [[2], [3]])
    return Batch(obs, array([[0.5], [-1]], [[0], [1]]), array([1, 2], [3, 4]), obs + 1, array([0, 0], [0, 1]),
                 array([0, 0], [0, 0]), extra={"valid": jnp.array([[True, True], [True, False]])}, axis=-2)  # fmt: skip


TAPE = {"flow_x0": np.zeros((2, 2)), "flow_t": np.full((2, 1), 0.5)}


def test_the_update_of_qc_fql():
    cfg = qc_fql.QCFQL(horizon=2, discount=0.9, polyak=0.5, alpha=3.0)
    flow = flows.Flow(linear([1, 0, 0, 0], [0, 0, 0, 0]), 2)  # v = (s, 0)
    actor = flows.OneStep(linear([0, 1, 0], [0.5, 0, 0]))  # (z_1, s / 2)
    state = qc_fql.state_of(qc_fql.optimisers_of(cfg), actor, flow, critics([1, 1, 0], [0, 0, 1]))
    noise = TAPE | {"target_z": array([0.2, 0], [0, 0]), "actor_z": array([0.1, 0.3], [0, 0])}
    new, metrics = qc_fql.update(cfg, state, sequence(), Tape(noise), jnp.asarray(0))
    next_q = (3 + 0.2 + 1) / 2  # s' = 3, chunk (.2, 1) after clipping 1.5, mean of the critics
    y = np.array([1 + 1.8 + 0.81 * next_q, 3 + 3.6])
    same(metrics["critic/target"], y.mean())
    q = np.array([1.5, -1])  # of the complete chunk
    same(metrics["critic/loss"], ((q - y[0]) ** 2).sum() / 4)
    velocity = np.array([[1 - 0.5, 1], [2 - 0, 0]])  # v - a, without the step beyond the end
    same(metrics["flow/loss"], (velocity**2).sum() / 4)
    goal, chunk = np.array([[1, 0.3], [1, 0]]), np.array([[0.1, 0.5], [0, 1]])
    same(metrics["actor/distillation"], ((chunk - goal) ** 2).mean())
    same(metrics["actor/q"], ((1 + 0.1 + 0.5) / 2 + (2 + 0 + 1) / 2) / 2)
    same(metrics["complete"], 0.5)
    same(new.target_critic.nets.layers[0].weight, state.chunk_critic.net.nets.layers[0].weight)  # a lag of one update


def test_the_update_of_qc():
    """The online critics choose the next chunk, the target critics give its value."""
    cfg = qc.QC(horizon=2, discount=0.9, candidates=2)
    made = qc.state_of(qc.optimisers_of(cfg), flows.Flow(linear([0, 0, 0, 0], [0, 0, 0, 0]), 2), critics([1, 1, 0]))
    state = qc.State(made.flow, made.chunk_critic, critics([0, 0, 1]))
    noise = TAPE | {"target_x0": array([[0.2, 0.5], [0, 0]], [[0.1, 0.9], [0, 0]])}
    _, metrics = qc.update(cfg, state, sequence(), Tape(noise), jnp.asarray(0))
    same(metrics["critic/target"], (1 + 1.8 + 0.81 * 0.5 + 3 + 3.6) / 2)
    memory = qc.memory(cfg, Spec((1,), 1), 1)
    seen = Seen(array([1.0]), jnp.zeros(1))
    first, memory = qc.act(cfg, state, seen, memory, Tape({"act": noise["target_x0"][:, :1]}), "sample")
    second, memory = qc.act(cfg, state, seen, memory, Tape({"act": jnp.zeros((2, 1, 2))}), "sample")
    same([float(first[0, 0]), float(second[0, 0])], np.array([0.2, 0.5]))


@pytest.mark.parametrize("module", [qc, qc_fql])
def test_networks_rows_and_bounds(module):
    config = module.algorithm.Config
    made = module.init(config(hidden=(8,), horizon=3), Context(Spec((4,), 2)), NOISE)
    assert made.chunk_critic.net.nets.layers[0].weight.shape == (2, 4 + 6, 8)
    assert made.flow.net.size == 6
    assert module.algorithm.needs(config(horizon=3)) == Chunks(3)
    assert module.check(config(horizon=0)) == ["horizon is 0, expected positive"]
    (phase,) = module.finetune(config())
    assert (phase.mix, phase.collect.delay) == ("proportional", 5_000)


def test_a_chunk_longer_than_every_episode_is_refused():
    algorithm = registry.get("qc_fql")
    require_episodes(algorithm, qc_fql.QCFQL(horizon=4), episodes(4, 2))
    with pytest.raises(UserError, match=r"chunks of 5 steps, but the longest episode .* has 4: lower --horizon"):
        require_episodes(algorithm, qc_fql.QCFQL(), episodes(4, 2))
