"""A version's log and what its training saw -> what should be known of it, within a budget of false alarms.

`rows` reads the log; `watch` gathers `evidence` row by row and `watching` makes events of it, which a `diagnosis`
explains; `checking` compares rows at once; `truth` says what answers were worth; `alerts` tell; an `overview` holds it
all and `page` shows it.
"""
