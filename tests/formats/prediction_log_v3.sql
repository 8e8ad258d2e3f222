BEGIN TRANSACTION;
CREATE TABLE "alert_deliveries" (event_id TEXT NOT NULL, recipient TEXT NOT NULL, PRIMARY KEY (event_id, recipient));
INSERT INTO "alert_deliveries" VALUES('houses:v1:drift:a-1','https://example.org/hook');
CREATE TABLE events (
        id TEXT PRIMARY KEY, model TEXT NOT NULL, at REAL NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL,
        details TEXT NOT NULL);
INSERT INTO "events" VALUES('houses:v1:drift:a-1','houses',100.0,'drift','v1','{"message": "rows are not as in training", "columns": [{"column": "town", "message": "new levels", "effect": 0.5}], "next": "label some of these rows"}');
INSERT INTO "events" VALUES('houses:v1:check:160','houses',160.0,'check','v1','{"message": "as in training: 3 rows", "p_value": 0.4, "alpha": 0.01, "rows": 3, "drifted": false}');
CREATE TABLE labels (id TEXT PRIMARY KEY, labeled_at REAL NOT NULL, label TEXT NOT NULL);
INSERT INTO "labels" VALUES('a-0',500.0,'205.0');
INSERT INTO "labels" VALUES('c-0',500.0,'"setosa"');
INSERT INTO "labels" VALUES('never-logged',500.0,'1.0');
CREATE TABLE "monitoring_points" (
        model TEXT NOT NULL, at REAL NOT NULL, version TEXT NOT NULL, details TEXT NOT NULL, PRIMARY KEY (model, at));
INSERT INTO "monitoring_points" VALUES('houses',60.0,'v1','{"log_e_value": 1.0, "log_threshold": 3.0, "columns": {"size": 0.5}, "loss_log_e_value": 0.1, "rows": 2, "labels": 1, "scored": 1, "covered": 1, "mean_loss": 5.5}');
CREATE TABLE "monitors" (
        model TEXT PRIMARY KEY, holder TEXT NOT NULL, lease_until REAL NOT NULL, state TEXT NOT NULL);
INSERT INTO "monitors" VALUES('houses','host:1',130.0,'');
CREATE TABLE prediction_log_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT INTO "prediction_log_meta" VALUES('schema_version','3');
CREATE TABLE predictions (
        id TEXT PRIMARY KEY, at REAL NOT NULL, model TEXT NOT NULL, version TEXT NOT NULL,
        inputs TEXT NOT NULL, response TEXT NOT NULL);
INSERT INTO "predictions" VALUES('a-0',100.0,'houses','v1','{"size":70,"town":"Ulm"}','{"prediction":210.5,"interval":[180.0,240.0],"out_of_range":[]}');
INSERT INTO "predictions" VALUES('a-1',100.0,'houses','v1','{"size":null,"town":"Bonn"}','{"prediction":190.0,"interval":[160.0,220.0],"out_of_range":["town"]}');
INSERT INTO "predictions" VALUES('b-0',160.0,'houses','v2','{"size":95,"town":"Ulm"}','{"prediction":300.25}');
INSERT INTO "predictions" VALUES('c-0',170.0,'flowers','v1','{"width":1.5}','{"prediction":"setosa","probabilities":{"setosa":0.9,"virginica":0.1}}');
CREATE TABLE request_counts (
    model TEXT NOT NULL, at REAL NOT NULL, accepted INTEGER NOT NULL, rejected INTEGER NOT NULL,
    PRIMARY KEY (model, at));
INSERT INTO "request_counts" VALUES('houses',60.0,3,1);
CREATE TABLE shadows (
        id TEXT NOT NULL, version TEXT NOT NULL, at REAL NOT NULL, response TEXT NOT NULL,
        PRIMARY KEY (id, version));
INSERT INTO "shadows" VALUES('b-0','v3',160.0,'{"prediction":310.0}');
CREATE INDEX predictions_by_time ON predictions (model, at, id);
CREATE INDEX labels_by_time ON labels (labeled_at);
CREATE INDEX shadows_by_time ON shadows (at);
CREATE INDEX events_by_time ON events (model, at);
COMMIT;
