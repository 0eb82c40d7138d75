package partition

import "errors"

var errUnready = errors.ErrUnsupported

type Partition struct{}

func Open(cfg Config) (*Partition, error) { return nil, errUnready }
func (p *Partition) AppendAsLeader(epoch int32, records []byte, now int64) (Appended, error) {
	return Appended{}, errUnready
}
func (p *Partition) AppendAsFollower(epoch int32, records []byte) (int64, error) {
	return 0, errUnready
}
func (p *Partition) Read(dst []byte, from int64, maxBytes int, upTo int64) ([]byte, error) {
	return dst, errUnready
}
func (p *Partition) Configure(s Settings)                    {}
func (p *Partition) StartEpoch(epoch int32) error            { return errUnready }
func (p *Partition) Follow(epoch int32) error                { return errUnready }
func (p *Partition) LogStart() int64                         { return 0 }
func (p *Partition) LEO() int64                              { return 0 }
func (p *Partition) SyncedEnd() int64                        { return 0 }
func (p *Partition) Size() int64                             { return 0 }
func (p *Partition) Unclean() bool                           { return false }
func (p *Partition) TopicID() [16]byte                       { return [16]byte{} }
func (p *Partition) Err() error                              { return nil }
func (p *Partition) LatestEpoch() int32                      { return -1 }
func (p *Partition) EpochStart(epoch int32) (int64, bool)    { return 0, false }
func (p *Partition) EndOffsetFor(epoch int32) (int32, int64) { return -1, -1 }
func (p *Partition) TruncateTo(epoch int32, offset int64) (int64, error) {
	return 0, errUnready
}
func (p *Partition) TruncateFullyAndStartAt(epoch int32, offset int64) error { return errUnready }
func (p *Partition) DeleteRecordsBefore(offset int64) error                  { return errUnready }
func (p *Partition) OffsetForTimestamp(ts, upTo int64) (Found, bool, error) {
	return Found{}, false, errUnready
}
func (p *Partition) ApplyRetention(now, upTo int64) (int64, error) { return 0, errUnready }
func (p *Partition) Flush() error                                  { return errUnready }
func (p *Partition) Checkpoint() error                             { return errUnready }
func (p *Partition) ExpireProducers(before int64)                  {}
func (p *Partition) Close() error                                  { return errUnready }
func (p *Partition) Abort()                                        {}
func (p *Partition) Delete() error                                 { return errUnready }
