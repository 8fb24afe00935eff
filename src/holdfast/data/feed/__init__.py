"""From a data set to batches on the device: treatment, columns, the sampler and the replay buffer."""
