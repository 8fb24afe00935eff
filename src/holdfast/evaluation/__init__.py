"""How good a policy is: rollouts in Gymnasium environments, scores and intervals."""
