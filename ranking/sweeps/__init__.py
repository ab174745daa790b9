"""Many runs as one question: grids of trials, the processes that run them, the table they make."""
