package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// input is what is sent: files and their lines.
type input struct {
	files []file
	lines int
	bytes int
}

type file struct {
	name  string
	lines [][]byte
	words int
}

// readInput reads the named files, or all Go sources and Markdown of this module.
func readInput(names []string) (*input, error) {
	if len(names) == 0 {
		var err error
		if names, err = moduleFiles(); err != nil {
			return nil, err
		}
	}
	in := &input{}
	seen := make(map[string]bool)
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f := file{name: name, words: len(bytes.Fields(data))}
		for line := range bytes.Lines(data) {
			f.lines = append(f.lines, bytes.TrimSuffix(line, []byte("\n")))
			in.bytes += len(line)
		}
		in.lines += len(f.lines)
		in.files = append(in.files, f)
	}
	if in.lines == 0 {
		return nil, errors.New("the files have no lines")
	}
	return in, nil
}

// moduleFiles finds the module that the program is run in.
func moduleFiles() ([]string, error) {
	root, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	for {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
		parent := filepath.Dir(root)
		if parent == root {
			return nil, errors.New("no files named, and no Go module here to take them from")
		}
		root = parent
	}
	var names []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if ext := filepath.Ext(path); d.Type().IsRegular() && (ext == ".go" || ext == ".md") {
			names = append(names, path)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the module's files: %w", err)
	}
	return names, nil
}
