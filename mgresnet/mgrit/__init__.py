"""The multigrid-reduction-in-time engine; it sees propagators and a communicator."""
