"""What is asked and what has to be computed: requests, settings, actions, the planner."""
