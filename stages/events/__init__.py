"""What the gate has decided, kept so that it can be proved later: one writer, a hash chain, and what is still to do."""
