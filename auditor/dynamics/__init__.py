"""Training as a dynamical system: states, step maps, gates, trajectories and their derivatives."""
