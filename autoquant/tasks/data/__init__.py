"""A user's data: tensors, a dataset, a DataLoader or a stream, as the batches of a split."""
