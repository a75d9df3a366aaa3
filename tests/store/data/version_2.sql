-- A store of schema version 2. Never change this file: it stands for files that users have.
PRAGMA application_id = 1298757708;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE decisions (
            decision_id TEXT NOT NULL PRIMARY KEY,
            created_at_s REAL,
            llm TEXT NOT NULL,
            policy TEXT NOT NULL,
            trade_off REAL,
            model_version INTEGER NOT NULL,
            tokens_in INTEGER NOT NULL,
            encoding BLOB NOT NULL,
            body TEXT NOT NULL,
            prompt TEXT
        );
INSERT INTO "decisions" VALUES('d00000001',1700000001.125,'small','squarecb',1.4,3,101,X'0100FF000100FF000100FF000100FF00','{"decision_id":"d00000001","created_at_s":1700000001.125,"llm":"small","reason":"best score, not null","policy":"squarecb","trade_off":1.4,"cost_scale_usd":0.01,"model_version":3,"seed":18446744073709551615,"tokens_in":101,"tags":[{"tag":"mathe π","probability":0.75}],"candidates":[{"llm":"small","forecast":{"quality":{"mean":1.1,"std":0.3333333333333333},"tokens_out":{"mean":1.1,"std":0.3333333333333333},"cost_usd":{"mean":1.1,"std":0.3333333333333333},"ttft_s":{"mean":1.1,"std":0.3333333333333333},"wait_s":0.5,"latency_s":{"mean":1.1,"std":0.3333333333333333}},"score":0.25,"propensity":1.0}],"ineligible":[{"llm":"blind","reason":"no vision"}]}',NULL);
INSERT INTO "decisions" VALUES('d00000002',1700000002.125,'large','squarecb',1.4,3,102,X'0200FF000200FF000200FF000200FF00','{"decision_id":"d00000002","created_at_s":1700000002.125,"llm":"large","reason":"best score, not null","policy":"squarecb","trade_off":1.4,"cost_scale_usd":0.01,"model_version":3,"seed":18446744073709551615,"tokens_in":102,"tags":[{"tag":"mathe π","probability":0.75}],"candidates":[{"llm":"large","forecast":{"quality":{"mean":2.1,"std":0.3333333333333333},"tokens_out":{"mean":2.1,"std":0.3333333333333333},"cost_usd":{"mean":2.1,"std":0.3333333333333333},"ttft_s":{"mean":2.1,"std":0.3333333333333333},"wait_s":0.5,"latency_s":{"mean":2.1,"std":0.3333333333333333}},"score":0.25,"propensity":1.0}],"ineligible":[{"llm":"blind","reason":"no vision"}]}','What is 2 + 2?');
CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL CHECK (kind IN ('outcome', 'feedback')),
            event_id TEXT NOT NULL,
            decision_id TEXT NOT NULL REFERENCES decisions (decision_id),
            llm TEXT NOT NULL,
            created_at_s REAL,
            body TEXT NOT NULL,
            status TEXT,
            attempt INTEGER,
            tokens_in INTEGER,
            tokens_out INTEGER,
            cost_usd REAL,
            latency_s REAL,
            feedback_kind TEXT,
            metric TEXT,
            source TEXT,
            value REAL,
            UNIQUE (kind, event_id)
        );
INSERT INTO "events" VALUES(1,'outcome','d00000001/0','d00000001','small',2.0,'{"llm":null,"status":"ok","tokens_in":7,"tokens_out":9,"cached_tokens_in":0,"reasoning_tokens":0,"cost_usd":0.1,"latency_s":1.5,"ttft_s":null,"streamed":false,"attempt":0,"error":null}','ok',0,7,9,0.1,1.5,NULL,NULL,NULL,NULL);
INSERT INTO "events" VALUES(2,'feedback','f1','d00000001','small',5.0,'{"feedback_id":"f1","decision_id":"d00000001","kind":"refined","value":0.3,"metric":"quality","source":"user","created_at_s":5.0,"tags":[["team","a☃"]]}',NULL,NULL,NULL,NULL,NULL,NULL,'refined','quality','user',0.3);
INSERT INTO "events" VALUES(3,'outcome','d00000002/1','d00000002','small',2.0,'{"llm":"small","status":"ok","tokens_in":7,"tokens_out":9,"cached_tokens_in":0,"reasoning_tokens":0,"cost_usd":1.1,"latency_s":1.5,"ttft_s":null,"streamed":false,"attempt":1,"error":null}','ok',1,7,9,1.1,1.5,NULL,NULL,NULL,NULL);
CREATE TABLE pool_changes (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            llm TEXT NOT NULL,
            active INTEGER NOT NULL,
            created_at_s REAL,
            body TEXT NOT NULL
        );
INSERT INTO "pool_changes" VALUES(1,'small',0,1.0,'{"spec":{"name":"small","model":null,"api_base":null,"api_key_env":null,"price":null,"context_window":null,"capabilities":[],"max_in_flight":null,"timeout_s":120.0,"stream_usage":true},"active":false,"created_at_s":1.0}');
CREATE TABLE states (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            version INTEGER NOT NULL UNIQUE,
            position INTEGER NOT NULL,
            created_at_s REAL,
            payload BLOB NOT NULL
        );
INSERT INTO "states" VALUES(1,4,2,1.5,X'6C6561726E6564FF');
CREATE TABLE totals (
            only INTEGER PRIMARY KEY CHECK (only = 1),
            decisions INTEGER NOT NULL,
            outcomes INTEGER NOT NULL,
            feedback INTEGER NOT NULL
        );
INSERT INTO "totals" VALUES(1,2,2,1);
CREATE INDEX events_by_decision ON events (decision_id);
CREATE VIEW outcomes AS
        SELECT seq, decision_id, llm, created_at_s, attempt, status, tokens_in, tokens_out, cost_usd, latency_s
        FROM events WHERE kind = 'outcome';
CREATE VIEW feedback AS
        SELECT
            seq, event_id AS feedback_id, decision_id, llm, created_at_s, feedback_kind AS kind, metric, source, value
        FROM events WHERE kind = 'feedback';
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('events',3);
INSERT INTO "sqlite_sequence" VALUES('pool_changes',1);
INSERT INTO "sqlite_sequence" VALUES('states',1);
COMMIT;
