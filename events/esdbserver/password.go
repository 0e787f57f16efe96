package esdbserver

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A password's hash is PBKDF2-HMAC-SHA256 (RFC 8018) in the form pbkdf2-sha256$rounds$salt$key, base 64 without padding.
const (
	hashName   = "pbkdf2-sha256"
	hashRounds = 600_000 // what OWASP asks for in 2023
	saltSize   = 16
	maxRounds  = 10_000_000
	// MaxPassword bounds a password, in bytes.
	MaxPassword = 1024
)

type passwordHash struct {
	rounds    int
	salt, key []byte
}

// HashPassword makes what User.Hash holds. It takes a good part of a second on purpose.
func HashPassword(password string) (string, error) {
	return hashPassword(password, hashRounds)
}

func hashPassword(password string, rounds int) (string, error) {
	if password == "" || len(password) > MaxPassword {
		return "", fmt.Errorf("password must have 1 to %d bytes", MaxPassword)
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	b := base64.RawStdEncoding
	return strings.Join([]string{hashName, strconv.Itoa(rounds), b.EncodeToString(salt), b.EncodeToString(key)}, "$"), nil
}

func parseHash(s string) (h passwordHash, err error) {
	bad := errors.New("malformed password hash")
	parts := strings.Split(s, "$")
	if len(parts) != 4 || parts[0] != hashName {
		return h, bad
	}
	if h.rounds, err = strconv.Atoi(parts[1]); err != nil || h.rounds < 1 || h.rounds > maxRounds {
		return h, bad
	}
	if h.salt, err = base64.RawStdEncoding.DecodeString(parts[2]); err != nil || len(h.salt) < 8 || len(h.salt) > 64 {
		return h, bad
	}
	if h.key, err = base64.RawStdEncoding.DecodeString(parts[3]); err != nil || len(h.key) != sha256.Size {
		return h, bad
	}
	return h, nil
}

func (h passwordHash) matches(password string) bool {
	key, err := pbkdf2.Key(sha256.New, password, h.salt, h.rounds, len(h.key))
	return err == nil && subtle.ConstantTimeCompare(key, h.key) == 1
}
