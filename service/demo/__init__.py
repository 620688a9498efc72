"""The story that ``stageaudit demo`` tells: data, training, exact truth, comparison."""
