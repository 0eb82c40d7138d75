// Package meta is what a broker knows about its cluster: the image built from the znodes that package layout describes.
//
// A Builder takes znodes as they are read (Set) or found missing (Remove), in any order, and yields immutable Images. Applying
// the same znode again, or an older version of it, changes nothing, so the shell may read as often as it likes (R8): on every
// connect it arms one recursive watch, reads everything into a fresh set of paths, hands that to Replace, and only then asks for
// the next Image; until then the old one is acted on.
//
// An Image never changes. It shares what did not change with the Image before it, so publishing one costs as much as the topics
// that changed, plus one copy of the map of topics.
//
// The package is pure. A Builder is not safe for concurrent use; an Image is.
package meta
