//go:build race

package readmodel

// effort divides the length of the longer stories: SQLite is much slower under the race detector.
const effort = 6
