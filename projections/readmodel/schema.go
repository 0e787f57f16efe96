package readmodel

// Version of the schema and of what is put into it, kept in the file. Another one there means: build anew.
const version = 2

// application marks the file as a read model ("shrd").
const application = 0x73687264

// schema is built for three things: a job that begins and ends within a batch costs few entries; every list walks an
// index in its own order, so that a page costs the same however many rows there are; what is rare is indexed by
// partial indexes, which cost nothing otherwise.
//
// Rows are numbered by the ordinal of the record that began them, counted from the begin of the log: a rebuild gives
// them the same numbers. Times are microseconds since 1970, 0: not yet.
const schema = `
CREATE TABLE place (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	position INTEGER NOT NULL, -- everything up to here is in the rows
	ordinal INTEGER NOT NULL, -- of the last record
	stream TEXT NOT NULL, rev INTEGER NOT NULL, at INTEGER NOT NULL, id BLOB NOT NULL, -- the last record
	goal INTEGER NOT NULL -- where a rebuild is complete
);

CREATE TABLE jobs (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL,
	kind INTEGER NOT NULL, state INTEGER NOT NULL,
	tenant TEXT NOT NULL, pipeline TEXT NOT NULL, module BLOB NOT NULL,
	submitted INTEGER NOT NULL, decided INTEGER NOT NULL,
	contradicted INTEGER NOT NULL, reason INTEGER NOT NULL,
	verdict_seq INTEGER,
	dead_seq INTEGER, -- of dead letters
	body BLOB NOT NULL, -- a jobBody
	begun BLOB NOT NULL -- the fact that began it, without the answer of a ringer
);
CREATE UNIQUE INDEX jobs_id ON jobs (id);
CREATE INDEX jobs_state ON jobs (kind, state);
CREATE INDEX jobs_tenant ON jobs (tenant, kind, state);
CREATE INDEX jobs_module ON jobs (module, state);
CREATE INDEX jobs_pipeline ON jobs (pipeline, state) WHERE pipeline <> '';
CREATE INDEX jobs_verdict ON jobs (verdict_seq) WHERE verdict_seq IS NOT NULL;
CREATE INDEX jobs_verdict_tenant ON jobs (tenant, verdict_seq) WHERE verdict_seq IS NOT NULL;
CREATE INDEX jobs_contradicted ON jobs (verdict_seq) WHERE contradicted > 0;
CREATE INDEX jobs_contradicted_tenant ON jobs (tenant, verdict_seq) WHERE contradicted > 0;
CREATE INDEX jobs_dead ON jobs (dead_seq) WHERE dead_seq IS NOT NULL;
CREATE INDEX jobs_dead_reason ON jobs (reason, dead_seq) WHERE dead_seq IS NOT NULL;
CREATE INDEX jobs_dead_tenant ON jobs (tenant, reason, dead_seq) WHERE dead_seq IS NOT NULL;
CREATE INDEX jobs_dead_pipeline ON jobs (pipeline, dead_seq) WHERE dead_seq IS NOT NULL;
CREATE INDEX jobs_dead_module ON jobs (module, dead_seq) WHERE dead_seq IS NOT NULL;

CREATE TABLE turns ( -- the rarer facts of a job, as they stand in the log
	job INTEGER NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL, at INTEGER NOT NULL, position INTEGER NOT NULL,
	data BLOB NOT NULL,
	PRIMARY KEY (job, seq)
) WITHOUT ROWID;
CREATE INDEX turns_mismatch ON turns (seq) WHERE type = 'ConsensusMismatch';

CREATE TABLE attempts (
	job INTEGER NOT NULL, slot INTEGER NOT NULL, attempt INTEGER NOT NULL,
	seq INTEGER NOT NULL, worker BLOB NOT NULL, outcome INTEGER NOT NULL,
	body BLOB NOT NULL, -- an attemptBody
	PRIMARY KEY (job, slot, attempt)
) WITHOUT ROWID;
CREATE INDEX attempts_worker ON attempts (worker, seq);
CREATE INDEX attempts_odd ON attempts (outcome, seq) WHERE outcome <> 3;
CREATE INDEX attempts_odd_worker ON attempts (worker, outcome, seq) WHERE outcome <> 3;

CREATE TABLE pipelines (
	seq INTEGER PRIMARY KEY,
	id TEXT NOT NULL, position INTEGER NOT NULL, state INTEGER NOT NULL, name TEXT NOT NULL, tenant TEXT NOT NULL,
	stage INTEGER NOT NULL, stages INTEGER NOT NULL, submitted INTEGER NOT NULL, ended INTEGER NOT NULL,
	detail TEXT NOT NULL, by_whom TEXT NOT NULL, output_bytes INTEGER NOT NULL,
	begun BLOB NOT NULL
);
CREATE UNIQUE INDEX pipelines_id ON pipelines (id);
CREATE INDEX pipelines_state ON pipelines (state);
CREATE INDEX pipelines_tenant ON pipelines (tenant, state);

CREATE TABLE stages (
	pipeline INTEGER NOT NULL, stage INTEGER NOT NULL, chunks INTEGER NOT NULL, settled INTEGER NOT NULL, failed INTEGER NOT NULL,
	started INTEGER NOT NULL, completed INTEGER NOT NULL, manifest BLOB NOT NULL, size INTEGER NOT NULL,
	PRIMARY KEY (pipeline, stage)
) WITHOUT ROWID;
CREATE TABLE holes ( -- chunks whose job is a dead letter
	pipeline INTEGER NOT NULL, stage INTEGER NOT NULL, chunk INTEGER NOT NULL,
	PRIMARY KEY (pipeline, stage, chunk)
) WITHOUT ROWID;

CREATE TABLE workers (
	seq INTEGER PRIMARY KEY,
	key BLOB NOT NULL, position INTEGER NOT NULL, tier INTEGER NOT NULL, state INTEGER NOT NULL, flags INTEGER NOT NULL,
	owner BLOB NOT NULL, party TEXT NOT NULL, node TEXT NOT NULL, session BLOB NOT NULL,
	claim BLOB, proven BLOB, record BLOB NOT NULL, -- messages
	chunk_bytes INTEGER NOT NULL, rejection INTEGER NOT NULL, detail TEXT NOT NULL,
	registered INTEGER NOT NULL, seen INTEGER NOT NULL, sessions INTEGER NOT NULL
);
CREATE UNIQUE INDEX workers_key ON workers (key);
CREATE INDEX workers_tier ON workers (tier, state);

CREATE TABLE sessions (
	worker INTEGER NOT NULL, seq INTEGER NOT NULL, id BLOB NOT NULL, party TEXT NOT NULL, node TEXT NOT NULL,
	connected INTEGER NOT NULL, ended INTEGER NOT NULL, why TEXT NOT NULL,
	PRIMARY KEY (worker, seq)
) WITHOUT ROWID;

CREATE TABLE modules (
	seq INTEGER PRIMARY KEY, original BLOB NOT NULL, position INTEGER NOT NULL, at INTEGER NOT NULL,
	admitted INTEGER NOT NULL, fact BLOB NOT NULL
);
CREATE UNIQUE INDEX modules_original ON modules (original);
CREATE INDEX modules_refused ON modules (seq) WHERE admitted = 0;

CREATE TABLE counters (
	what INTEGER NOT NULL, scope TEXT NOT NULL, a INTEGER NOT NULL, b INTEGER NOT NULL, n INTEGER NOT NULL,
	PRIMARY KEY (what, scope, a, b)
) WITHOUT ROWID;

CREATE TABLE series (
	step INTEGER NOT NULL, at INTEGER NOT NULL, -- both seconds
	submitted INTEGER NOT NULL, verified INTEGER NOT NULL, dead INTEGER NOT NULL, cancelled INTEGER NOT NULL,
	mismatches INTEGER NOT NULL, dispatched INTEGER NOT NULL, stripped INTEGER NOT NULL, rejected INTEGER NOT NULL,
	events INTEGER NOT NULL,
	PRIMARY KEY (step, at)
) WITHOUT ROWID;
`
