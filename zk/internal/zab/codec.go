package zab

// AppendMessage appends the encoding of m to dst.
func AppendMessage(dst []byte, m *Message) []byte { return dst }

// DecodeMessage decodes one message.
func DecodeMessage(b []byte) (Message, error) { return Message{}, errUnwritten }
