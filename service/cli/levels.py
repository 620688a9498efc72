"""What a log of each level can answer, in a line."""

LEVELS = {
    0: "boundary checkpoints: checkpoint_delta, task_vector",
    1: "also schedules and optimizer states; batches or data are not complete",
    2: "also every batch and all data: every estimator, log consistency, sources",
}
