"""Off-policy evaluation: the value of a policy from logged episodes, with intervals, diagnostics and refusals."""
