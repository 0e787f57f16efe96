//go:build !race

package readmodel

// effort divides the length of the longer stories.
const effort = 1
