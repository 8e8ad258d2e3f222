"""A version's log and its training reference -> alarms within a false-alarm budget, retraining and promotion.

`records` reads the log. `follower` feeds it to the sequential tests of `sequential` and turns alarms into `events`,
which `diagnosis` explains; `drift_check` compares many rows at once; `performance` scores predictions where labels have
arrived; `alerts` are sent. `loop` runs all of it, with `retrain` and `promotion`; `overview` and `page` show it.
"""
