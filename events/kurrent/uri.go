package kurrent

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
)

// ErrURI is the error of a connection string that names no server. Its text never quotes the string, which may hold
// a password anywhere.
var ErrURI = errors.New("malformed connection string")

// settings are the keys that a connection string may have. The checks come before the library's own, because that
// logs what it does not know and drops the error of a bad deadline.
var settings = map[string]func(value string) error{
	"tls":                  oneOf("true", "false"),
	"tlsverifycert":        oneOf("true", "false"),
	"tlscafile":            readable,
	"usercertfile":         readable,
	"userkeyfile":          readable,
	"nodepreference":       oneOf("leader", "follower", "random", "readonlyreplica"),
	"gossiptimeout":        within(1, 3600),
	"discoveryinterval":    within(1, 3_600_000),
	"maxdiscoverattempts":  within(1, 1_000_000),
	"keepaliveinterval":    orOff(within(10_000, 3_600_000)),
	"keepalivetimeout":     orOff(within(100, 3_600_000)),
	"defaultdeadline":      within(100, 600_000),
	"connectionname":       func(string) error { return nil },
	"throwonappendfailure": oneOf("true", "false"),
}

// foreign settings mean something to other clients alone.
var foreign = map[string]bool{"connectionname": true, "throwonappendfailure": true}

// parseURI reads a connection string. kurrentdb is another word for esdb.
func parseURI(uri string) (*esdb.Configuration, error) {
	scheme, rest, ok := strings.Cut(uri, "://")
	if !ok {
		return nil, fmt.Errorf("%w: no scheme", ErrURI)
	}
	switch strings.ToLower(scheme) {
	case "esdb", "kurrentdb", "kurrent":
		scheme = "esdb"
	case "esdb+discover", "kurrentdb+discover", "kurrent+discover":
		scheme = "esdb+discover"
	default:
		return nil, fmt.Errorf("%w: the scheme is none of esdb, esdb+discover, kurrentdb, kurrentdb+discover", ErrURI)
	}
	rest, err := checkSettings(rest)
	if err != nil {
		return nil, err
	}
	cfg, err := esdb.ParseConnectionString(scheme + "://" + rest)
	if err != nil {
		return nil, fmt.Errorf("%w: want esdb://[user:password@]host[:port][,host[:port]][?setting=value&...], reserved characters escaped", ErrURI)
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%w: userCertFile and userKeyFile belong together", ErrURI)
	}
	cfg.Logger = nil
	return cfg, nil
}

// checkSettings returns what follows the scheme without settings that are foreign.
func checkSettings(rest string) (string, error) {
	if strings.Contains(rest, "#") {
		return "", fmt.Errorf("%w: unescaped #", ErrURI)
	}
	place, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return "", fmt.Errorf("%w: settings are not key=value", ErrURI)
	}
	for key, vs := range values {
		check, ok := settings[strings.ToLower(key)]
		if !ok || len(vs) != 1 {
			return "", fmt.Errorf("%w: a setting is unknown or given twice", ErrURI)
		}
		if err := check(vs[0]); err != nil {
			return "", fmt.Errorf("%w: setting %s: %w", ErrURI, key, err)
		}
		if foreign[strings.ToLower(key)] {
			delete(values, key)
		}
	}
	if len(values) == 0 {
		return place, nil
	}
	return place + "?" + values.Encode(), nil
}

func oneOf(words ...string) func(string) error {
	return func(v string) error {
		for _, w := range words {
			if strings.EqualFold(v, w) {
				return nil
			}
		}
		return fmt.Errorf("want %s", strings.Join(words, " or "))
	}
}

func within(low, high int) func(string) error {
	return func(v string) error {
		if n, err := strconv.Atoi(v); err != nil || n < low || n > high {
			return fmt.Errorf("want a number from %d to %d", low, high)
		}
		return nil
	}
}

func orOff(check func(string) error) func(string) error {
	return func(v string) error {
		if v == "-1" {
			return nil
		}
		return check(v)
	}
}

func readable(path string) error {
	_, err := os.Stat(path)
	return err
}
