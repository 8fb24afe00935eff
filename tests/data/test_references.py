"""Reference returns, time limits and names of D4RL's data sets."""

from holdfast.data.references import d4rl_id, environment_spec_for, reference_for, time_limit


def test_references():
    assert reference_for("halfcheetah-medium-expert-v2") == (-280.178953, 12135.0)
    assert reference_for("anything", "Walker2d-v5") == (1.629008, 4592.3)
    assert reference_for("maze2d-umaze-dense-v1") == (68.537689, 193.66285642381482)
    assert reference_for("D4RL/antmaze-large-play-v2") == (0.0, 1.0)
    assert reference_for("zoo/x-v0", "LunarLander-v3") == (-188.0, 240.0)
    assert reference_for("my-robot-v0") is None
    assert reference_for("door-robot-v0") is None
    assert d4rl_id("Ant_maze_u-maze_noisy_multistart_False_multigoal_False_sparse") == "antmaze-umaze"
    assert d4rl_id("maze2d-large-sparse-v1") == "maze2d-large-v1"
    assert d4rl_id("door-v0_demos_clipped") == "door-demos-clipped"
    assert d4rl_id("halfcheetah_medium_expert-v2") == "halfcheetah-medium-expert-v2"
    assert (time_limit("antmaze-umaze-v0"), time_limit("antmaze-large-v0"), time_limit(None)) == (700, 1000, None)
    assert environment_spec_for("hopper-medium-v2", (12,)) is None
