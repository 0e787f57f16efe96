package metrics

// maxSubmissions bounds the jobs whose submission is remembered, some 100 bytes each.
const maxSubmissions = 200_000

// submissions remember when jobs were submitted, for the time they take. Beyond the limit new ones are not remembered,
// and are missing in the histogram: it shows a sample then.
type submissions struct {
	max int
	at  map[string]int64 // microseconds since 1970 by stream
}

func newSubmissions(limit int) *submissions {
	return &submissions{max: limit, at: make(map[string]int64)}
}

func (s *submissions) put(stream string, us int64) {
	if len(s.at) < s.max && us > 0 {
		s.at[stream] = us
	}
}

func (s *submissions) take(stream string) (us int64, ok bool) {
	us, ok = s.at[stream]
	delete(s.at, stream)
	return us, ok
}
