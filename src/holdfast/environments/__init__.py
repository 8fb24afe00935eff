"""Gymnasium environments: making them, matching their spaces to a policy, and tiny problems with known answers."""
