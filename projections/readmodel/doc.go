// Package readmodel keeps rows about jobs, attempts, pipelines, workers, verdicts, dead letters, modules and throughput
// in SQLite, for pages, lists and counts.
//
// It promises that the rows and the place in the log that they stand for change together, that a page sees one such
// place, and that a database which is missing, damaged, of another log or of another version is built anew without
// anybody's help. It promises nothing that the log does not: the database may be deleted at any time, closed jobs are
// forgotten beyond a number, and everything in it was decided elsewhere.
package readmodel
