"""The fast path of the predict routes; without it the service answers the same, slower."""
