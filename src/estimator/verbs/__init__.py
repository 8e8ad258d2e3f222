"""The verbs of a model's life in order, a few lines each: read this folder first.

making      init, explore, accept, train, foresee, tune
judging     evaluate, compare, verify
answering   predict, serve, why, page
keeping     promote, rollback, list_models, history, live_at
renewing    monitor, check_table, watch, retrain, replay
shipping    image, push, deploy, status, down
checking    ci, init_ci
"""

from estimator.config import read_config
from estimator.store.store import Store
from estimator.verbs.answering import page, predict, serve, why
from estimator.verbs.checking import Request, ci, init_ci
from estimator.verbs.context import VOCABULARY, Helpers, Order, load, open_store
from estimator.verbs.judging import compare, evaluate, verify
from estimator.verbs.keeping import history, list_models, live_at, promote, rollback
from estimator.verbs.making import Explored, NewVersion, Table, Tuned, accept, explore, foresee, init, train, tune
from estimator.verbs.renewing import Site, check_table, monitor, replay, retrain, watch
from estimator.verbs.shipping import Deployed, Place, deploy, down, image, push, status

__all__ = [
    "VOCABULARY",
    "Deployed",
    "Explored",
    "Helpers",
    "NewVersion",
    "Order",
    "Place",
    "Request",
    "Site",
    "Store",
    "Table",
    "Tuned",
    "accept",
    "check_table",
    "ci",
    "compare",
    "deploy",
    "down",
    "evaluate",
    "explore",
    "foresee",
    "history",
    "image",
    "init",
    "init_ci",
    "list_models",
    "live_at",
    "load",
    "monitor",
    "open_store",
    "page",
    "predict",
    "promote",
    "push",
    "read_config",
    "replay",
    "retrain",
    "rollback",
    "serve",
    "status",
    "train",
    "tune",
    "verify",
    "watch",
    "why",
]
