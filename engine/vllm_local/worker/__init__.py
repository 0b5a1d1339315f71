"""What computes a step: the batch's arrays, the model runner, memory, and loading."""
