// Package tidy holds the tests that keep the house in order: who may import
// whom, how long a file may be, what is documented. It has no code of its own.
package tidy
